-- enqueue: nothing -> pending, up to a few hundred tasks at once. Refused whole when the backlog
-- would pass its limit. Safe to repeat: a task that exists is left alone.
-- KEYS 1 image_tasks
-- ARGV 1 batch  2 backlog limit  3... id, body, id, body, ...
-- Returns {added, waiting}; added is -1 when refused.
-- No allow-oom here: when memory is short, new work is what must wait.
local waiting = redis.call('LLEN', KEYS[1])
local new, room = (#ARGV - 2) / 2, tonumber(ARGV[2]) - waiting
if new > room then  -- unless they are in already, as when an answer was lost
  for i = 3, #ARGV, 2 do new = new - redis.call('EXISTS', 'task:' .. ARGV[i]) end
  if new > 0 and new > room then return {-1, waiting} end
end
local added = {}
for i = 3, #ARGV, 2 do
  if redis.call('HSETNX', 'task:' .. ARGV[i], 'body', ARGV[i + 1]) == 1 then
    added[#added + 1] = ARGV[i]
  end
end
if #added > 0 then
  redis.call('RPUSH', KEYS[1], unpack(added))
  redis.call('HINCRBY', 'batch:' .. ARGV[1], 'total', #added)
  redis.call('HINCRBY', 'batch:' .. ARGV[1], 'left', #added)
  local first = string.match(added[1], '%d+$') or '0'
  redis.call('PERSIST', 'batch:' .. ARGV[1])  -- it may have been through once
  event('enqueued', 'batch', ARGV[1], 'count', #added, 'first', first)
end
return {#added, waiting + #added}
