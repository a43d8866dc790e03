-- release: leased -> pending, for all that a worker holds.
-- KEYS 1 workers
-- ARGV 1 worker  2 incarnation ('' for any)  3 reason
--      4 '1' if it died while running the first of them (counts as a crash)
--      5 crashes allowed  6 '' or the status to leave in the registry ('dead', or 'left')
-- Returns how many it held; -1 if another incarnation of this worker has taken over since
local now = now_ms()
local worker = read_entry(ARGV[1])
local life = worker.incarnation
if life and ARGV[2] ~= '' and life ~= ARGV[2] then return -1 end
local held = take_all(ARGV[1], ARGV[4] == '1', ARGV[3], tonumber(ARGV[5]), now)
if life and ARGV[6] == 'left' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', 'workers:beats', ARGV[1])
  event('left', 'worker', ARGV[1])
elseif life and ARGV[6] == 'dead' and worker.status ~= 'dead' then
  worker.status, worker.current = 'dead', cjson.null
  write_entry(ARGV[1], worker)
  event('died', 'worker', ARGV[1], 'reason', ARGV[3])
end
return held
