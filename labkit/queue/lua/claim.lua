-- claim: pending -> leased. Pops, sets the lease and hands out a fencing token, all or nothing.
-- A worker gets its part of what waits at most, so that none hoards while another is idle.
-- Tokens only ever grow, over all tasks, so they also tell in which order a worker took its tasks.
-- KEYS 1 image_tasks  2 image_tasks:leases  3 image_tasks:owners  4 worker:<id>:tasks
--      5 workers:beats  6 labkit:token
-- ARGV 1 worker  2 lease in ms  3 how many at most
-- Returns {id, token, body, id, token, ...}
local count = math.min(tonumber(ARGV[3]), 1000)  -- Lua cannot unpack more than 8000
if count > 1 then
  local workers = math.max(redis.call('ZCARD', KEYS[5]), 1)
  count = math.min(count, math.max(math.ceil(redis.call('LLEN', KEYS[1]) / workers), 1))
end
local popped = redis.call('LPOP', KEYS[1], count)
if not popped then return {} end
local now = now_ms()
local lease_end = string.format('%d', now + ARGV[2])  -- turned to text once, not for each task
local token = redis.call('INCRBY', KEYS[6], #popped) - #popped
local owned = redis.call('HMGET', KEYS[3], unpack(popped))
local reply, leases, owners, held, ids, taken = {}, {}, {}, {}, {}, {}
for n, id in ipairs(popped) do
  local found = redis.pcall('HMGET', 'task:' .. id, 'body', 'state')
  local body, state = found[1], found[2]
  if found.err or not body or string.find(id, '[\128-\255]') then
    bury(id, ARGV[1], 'not the id of a task that labkit enqueued', now)
  elseif not owned[n] and not taken[id] and (not state or state == 'pending') then
    token, taken[id] = token + 1, true
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = id
    owners[#owners + 1] = id
    owners[#owners + 1] = ARGV[1]
    held[#held + 1] = token
    held[#held + 1] = id
    ids[#ids + 1] = id
    reply[#reply + 1] = id
    reply[#reply + 1] = token
    reply[#reply + 1] = body
  end  -- else it stands in the queue twice, and this one is dropped
end
if #ids > 0 then
  redis.call('ZADD', KEYS[2], unpack(leases))
  redis.call('HSET', KEYS[3], unpack(owners))
  redis.call('ZADD', KEYS[4], unpack(held))
  event('claimed', 'worker', ARGV[1], 'tasks', table.concat(ids, ' '))
end
return reply
