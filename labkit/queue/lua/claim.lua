-- claim: pending -> leased. Pops, sets the lease and hands out a fencing token, all or nothing.
-- A worker gets its part of what waits at most, so that none hoards while another is idle.
-- Tokens only ever grow, over all tasks, so they also tell in which order a worker took its tasks.
-- KEYS 1 image_tasks  2 image_tasks:leases  3 worker:<id>:tasks  4 workers:beats  5 labkit:token
-- ARGV 1 worker  2 lease in ms  3 how many at most  4 default timeout in ms  5 schema understood
-- Returns {id, token, body, timeout_ms, id, token, ...}
local reply, leases, held, ids = {}, {}, {}, {}
local count = tonumber(ARGV[3])
if count > 1 then
  local workers = math.max(redis.call('ZCARD', KEYS[4]), 1)
  count = math.min(count, math.max(math.ceil(redis.call('LLEN', KEYS[1]) / workers), 1))
end
local popped = redis.call('LPOP', KEYS[1], count)
if not popped then return reply end
local now = now_ms()
local lease_end = string.format('%d', now + ARGV[2])  -- turned to text once, not for each task
local deadline = string.format('%d', now + ARGV[4])
local token = redis.call('INCRBY', KEYS[5], #popped) - #popped
for _, id in ipairs(popped) do
  local key = 'task:' .. id
  local found = redis.pcall('HMGET', key, 'body', 'state', 'timeout_ms', 'schema')
  local body, state, timeout = found[1], found[2], found[3]
  if found.err or not body then
    bury(id, ARGV[1], 'not the id of a task that labkit enqueued', now)
  elseif found[4] and tonumber(found[4]) > tonumber(ARGV[5]) then
    redis.call('RPUSH', KEYS[1], id)  -- for a worker that is newer than this one
  elseif not state or state == 'pending' then  -- else it stands in the queue twice: drop this one
    token = token + 1
    redis.call('HSET', key, 'state', 'leased', 'worker', ARGV[1], 'token', token, 'deadline',
      timeout and string.format('%d', now + timeout) or deadline)
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = id
    held[#held + 1] = token
    held[#held + 1] = id
    ids[#ids + 1] = id
    reply[#reply + 1] = id
    reply[#reply + 1] = token
    reply[#reply + 1] = body
    reply[#reply + 1] = timeout or ARGV[4]
  end
end
if #ids > 0 then
  redis.call('ZADD', KEYS[2], unpack(leases))
  redis.call('ZADD', KEYS[3], unpack(held))
  event('claimed', 'worker', ARGV[1], 'tasks', table.concat(ids, ' '))
end
return reply
