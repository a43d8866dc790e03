-- fail: leased -> delayed, or dead when trying again cannot help. Fenced like ack.
-- KEYS 1 worker:<id>:tasks  2 task:<id>  3 image_tasks:delayed
-- ARGV 1 worker  2 id  3 token  4 reason  5 tries allowed (0: never again)  6 first delay in ms, doubled each try
-- Returns 1 will be tried again, 2 dead, 0 fenced
if redis.call('ZSCORE', KEYS[1], ARGV[2]) ~= ARGV[3] then
  local seen = redis.call('HMGET', KEYS[2], 'state', 'token')
  if seen[2] == ARGV[3] and seen[1] == 'dead' then return 2 end
  if seen[2] == ARGV[3] and seen[1] == 'delayed' then return 1 end
  fence(ARGV[2], ARGV[1])
  return 0
end
local now = now_ms()
unlease(ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], 'token', ARGV[3], 'worker', ARGV[1])
local tries = redis.call('HINCRBY', KEYS[2], 'tries', 1)
if tries >= tonumber(ARGV[5]) then
  bury_task(ARGV[2], ARGV[1], ARGV[4], now)
  return 2
end
redis.call('HSET', KEYS[2], 'state', 'delayed', 'error', ARGV[4])
local delay = math.min(ARGV[6] * 2 ^ (tries - 1), 60000)
redis.call('ZADD', KEYS[3], now + delay, ARGV[2])
event('failed', 'task', ARGV[2], 'worker', ARGV[1], 'reason', ARGV[4], 'retry_ms', delay)
return 1
