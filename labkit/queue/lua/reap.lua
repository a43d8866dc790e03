-- reap: leased -> pending where the lease ran out; delayed -> pending where it is time.
-- A worker that was silent for a whole lease is shown as dead until it beats again.
-- Anybody may run it, often. Gap guard: if nobody ran it for a while, Redis was away or everything
-- slept, and nobody could renew; then every lease is granted a full term instead.
-- KEYS 1 image_tasks:leases  2 image_tasks:delayed  3 image_tasks:reaped_at  4 workers:beats
-- ARGV 1 lease in ms  2 gap in ms that means an outage  3 crashes allowed  4 forget dead after, ms
-- Returns how many leases had run out; -1 after an outage
local now = now_ms()
local last = tonumber(redis.call('GET', KEYS[3]) or 0)
redis.call('SET', KEYS[3], now)
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)
for _, id in ipairs(due) do
  redis.call('ZREM', KEYS[2], id)
  redis.call('HSET', 'task:' .. id, 'state', 'pending')
  redis.call('RPUSH', 'image_tasks', id)
end
if now - last > tonumber(ARGV[2]) then
  local all = redis.call('ZRANGE', KEYS[1], 0, -1)
  for _, id in ipairs(all) do redis.call('ZADD', KEYS[1], now + ARGV[1], id) end
  for _, worker in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
    redis.call('ZADD', KEYS[4], now, worker)  -- nobody could beat either
  end
  if #all > 0 then event('recovered', 'leases', #all) end
  return -1
end
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
local seen = {}
for _, id in ipairs(expired) do
  local worker = redis.call('HGET', 'image_tasks:owners', id) or ''
  if not seen[worker] then  -- its slice whole: the first of it was running, the others were not
    seen[worker] = true
    take_all(worker, true, 'expired', tonumber(ARGV[3]), now, true)
  end
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[1])) do
  local entry = read_entry(worker)
  if entry.incarnation and entry.status ~= 'dead' then
    entry.status = 'dead'
    write_entry(worker, entry)
    event('silent', 'worker', worker)
  end
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[4])) do
  redis.call('ZREM', KEYS[4], worker)
  redis.call('HDEL', 'workers', worker)
end
return #expired
