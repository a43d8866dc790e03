-- ack: leased -> done, with results. Fenced: only a task's newest token counts.
-- Several at once when they were too short to be worth a call each.
-- KEYS 1 worker:<id>:tasks
-- ARGV 1 worker  2 label for the events  3 ttl in ms
--      4... id, token, result (may be empty), id, token, result, ...
-- Returns for each: 1 done, 2 was already done by this very claim, 0 fenced
local ids, reply, done, batches, ended = {}, {}, {}, {}, {}
for i = 4, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
local tokens = redis.call('ZMSCORE', KEYS[1], unpack(ids))
for n, id in ipairs(ids) do
  local token, result, key = ARGV[3 * n + 2], ARGV[3 * n + 3], 'task:' .. id
  if tokens[n] == token and not ended[id] then  -- it holds the task, so nobody else does
    ended[id] = true
    redis.call('HSET', key, 'state', 'done', 'token', token, 'worker', ARGV[1])
    redis.call('PEXPIRE', key, ARGV[3])
    if result ~= '' then redis.call('SET', 'result:' .. id, result, 'PX', ARGV[3]) end
    local batch = string.match(id, '^(.+):%d+$')
    if batch then batches[batch] = (batches[batch] or 0) + 1 end
    done[#done + 1] = id
    reply[n] = 1
  else
    local seen = redis.call('HMGET', key, 'state', 'token')
    if seen[1] == 'done' and seen[2] == token then
      reply[n] = 2
    else
      fence(id, ARGV[1])
      reply[n] = 0
    end
  end
end
if #done > 0 then
  unlease(ARGV[1], unpack(done))
  redis.call('HINCRBY', 'workers:completed', ARGV[1], #done)
  for batch, count in pairs(batches) do finish_in_batch(batch, 'done', count, ARGV[3]) end
  event('done', 'tasks', table.concat(done, ' '), 'worker', ARGV[1], 'op', ARGV[2])
end
return reply
