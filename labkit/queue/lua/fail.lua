-- fail: leased -> delayed, or dead when trying again cannot help. Fenced like ack.
-- KEYS 1 worker:<id>:tasks  2 task:<id>  3 image_tasks:delayed
-- ARGV 1 worker  2 id  3 token  4 reason
--      5 tries allowed; 0: never again; -1: it was not tried, another worker may know how
--      6 first delay in ms, doubled each time
-- Returns 1 will be tried again, 2 dead, 0 fenced
if redis.call('ZSCORE', KEYS[1], ARGV[2]) ~= ARGV[3] then
  local seen = redis.call('HMGET', KEYS[2], 'state', 'token')
  if seen[2] == ARGV[3] and seen[1] == 'dead' then return 2 end
  if seen[2] == ARGV[3] and seen[1] ~= 'done' then return 1 end  -- it was told so before
  fence(ARGV[2], ARGV[1])
  return 0
end
local now = now_ms()
unlease(ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], 'token', ARGV[3], 'worker', ARGV[1])
local allowed = tonumber(ARGV[5])
local times = redis.call('HINCRBY', KEYS[2], allowed < 0 and 'passed' or 'tries', 1)
if allowed >= 0 and times >= allowed then
  bury_task(ARGV[2], ARGV[1], ARGV[4], now)
  return 2
end
redis.call('HSET', KEYS[2], 'state', 'delayed', 'error', ARGV[4])
local delay = math.min(ARGV[6] * 2 ^ (times - 1), 60000)
redis.call('ZADD', KEYS[3], now + delay, ARGV[2])
event('failed', 'task', ARGV[2], 'worker', ARGV[1], 'reason', ARGV[4], 'retry_ms', delay)
return 1
