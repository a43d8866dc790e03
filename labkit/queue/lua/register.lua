-- register: a worker reports for work. What an earlier life of the same id still held goes back.
-- KEYS 1 workers  2 workers:beats
-- ARGV 1 worker  2 JSON (id, incarnation, host, ...)  3 crashes allowed  4 fresh: ms since a beat
-- Returns 1, or 0 if a live worker on another host has this id
local now = now_ms()
local new = cjson.decode(ARGV[2])
local old = read_entry(ARGV[1])
if old.incarnation then
  local beat = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
  if old.incarnation == new.incarnation then return 1 end
  if old.host ~= new.host and old.status ~= 'dead' and now - beat < tonumber(ARGV[4]) then
    return 0
  end
end
take_all(ARGV[1], true, 'killed', tonumber(ARGV[3]), now)
new.last_heartbeat = now / 1000
new.started_at = now / 1000
new.tasks_completed = tonumber(redis.call('HGET', 'workers:completed', ARGV[1]) or 0)
new.tasks_failed = tonumber(redis.call('HGET', 'workers:failed', ARGV[1]) or 0)
write_entry(ARGV[1], new)
redis.call('ZADD', KEYS[2], now, ARGV[1])
event('joined', 'worker', ARGV[1])
return 1
