-- cancel: pending or delayed -> cancelled. The id stays in the queue; claim drops it there.
-- KEYS 1 image_tasks:owners
-- ARGV 1 ttl of the batch in ms  2... ids
-- Returns how many
local cancelled = {}
for i = 2, #ARGV do
  local id, key = ARGV[i], 'task:' .. ARGV[i]
  local state = redis.call('HGET', key, 'state')
  local waits = not state or state == 'pending' or state == 'delayed'
  if waits and redis.call('EXISTS', key) == 1 and not redis.call('HGET', KEYS[1], id) then
    redis.call('ZREM', 'image_tasks:delayed', id)
    redis.call('HSET', key, 'state', 'cancelled')
    redis.call('PEXPIRE', key, DEAD_TTL_MS)  -- claim must know it while its id waits there
    local batch = string.match(id, '^(.+):%d+$')
    if batch then finish_in_batch(batch, 'cancelled', 1, ARGV[1]) end
    cancelled[#cancelled + 1] = id
  end
end
if #cancelled > 0 then event('cancelled', 'tasks', table.concat(cancelled, ' ')) end
return #cancelled
