-- beat: the worker lives. Renews the leases of what it holds and writes the worker's registry entry
-- whole, so that a lost entry comes back by itself. A task past its deadline needs no care here:
-- the supervisor that beats is the one that stops it.
-- Must pass when memory is short, or live work would be declared dead first.
-- KEYS 1 workers  2 workers:beats  3 image_tasks:leases  4 worker:<id>:tasks
-- ARGV 1 worker  2 JSON (id, incarnation, host, status, current, ...)  3 lease in ms
-- Returns {id, token, id, token, ...} that it holds
local now = now_ms()
local new = cjson.decode(ARGV[2])
local held = redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES')
for i = 1, #held, 2 do redis.call('ZADD', KEYS[3], 'XX', now + ARGV[3], held[i]) end
redis.call('PEXPIRE', 'workers:completed', DAY_MS)
redis.call('PEXPIRE', 'workers:failed', DAY_MS)
local old = read_entry(ARGV[1])
if old.incarnation ~= new.incarnation then event('joined', 'worker', ARGV[1]) end
local was_up = old.status == 'active' or old.status == 'busy'
local is_up = new.status == 'active' or new.status == 'busy'
if is_up and not was_up then event('active', 'worker', ARGV[1]) end
if new.status == 'draining' and old.status ~= 'draining' then event('draining', 'worker', ARGV[1]) end
new.last_heartbeat = now / 1000
new.started_at = old.started_at or now / 1000
new.tasks_completed = tonumber(redis.call('HGET', 'workers:completed', ARGV[1]) or 0)
new.tasks_failed = tonumber(redis.call('HGET', 'workers:failed', ARGV[1]) or 0)
write_entry(ARGV[1], new)
redis.call('ZADD', KEYS[2], now, ARGV[1])
return held
