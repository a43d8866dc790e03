-- recall: leased -> pending, for tasks that their worker took but has not begun. By token, so that
-- a task which it has claimed anew meanwhile stays its own.
-- KEYS 1 worker:<id>:tasks
-- ARGV 1 worker  2... id, token, id, token, ... in the order they were claimed
-- Returns how many went back
local now, back = now_ms(), {}
for i = #ARGV - 1, 2, -2 do
  local id = ARGV[i]
  if redis.call('ZSCORE', KEYS[1], id) == ARGV[i + 1] then
    take_back(id, ARGV[1], false, '', 0, now)
    table.insert(back, 1, id)
  end
end
if #back > 0 then event('released', 'worker', ARGV[1], 'tasks', table.concat(back, ' ')) end
return #back
