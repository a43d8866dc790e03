-- What every transition shares. It is put in front of each script when that is loaded.
-- The clock is the server's: workers' clocks disagree, and some are wrong.

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function event(kind, ...)
  redis.call('XADD', 'labkit:events', 'MAXLEN', '~', 200000, '*', 'kind', kind, ...)
end

-- What the registry says of a worker; {} if nothing, or nothing that can be read.
local function read_entry(worker)
  local entry = redis.call('HGET', 'workers', worker)
  local readable, found = pcall(cjson.decode, entry or '')
  return readable and type(found) == 'table' and found or {}
end

-- An empty list would be written as {}, since Lua has one word for both.
local function write_entry(worker, new)
  if new.capabilities and not new.capabilities[1] then new.capabilities = nil end
  redis.call('HSET', 'workers', worker, cjson.encode(new))
end

-- A result or a failure that came too late: the task has been given to somebody else.
local function fence(id, worker)
  redis.call('HINCRBY', 'labkit:stats', 'fenced', 1)
  event('fenced', 'task', id, 'worker', worker)
end

-- Ids are <batch>:<n>. A batch is kept for a while after its last task.
local function finish_in_batch(batch, outcome, count, ttl_ms)
  local key = 'batch:' .. batch
  redis.call('HINCRBY', key, outcome, count)
  if redis.call('HINCRBY', key, 'left', -count) <= 0 then redis.call('PEXPIRE', key, ttl_ms) end
end

-- A dead letter keeps what was found and why; element is the id, or whatever a stranger pushed.
local DAY_MS = 24 * 3600 * 1000
local DEAD_MAX, DEAD_TTL_MS = 10000, 7 * DAY_MS
local function bury(element, worker, reason, now)
  local letter = cjson.encode({task = element, worker = worker, reason = reason, at = now / 1000})
  redis.call('LPUSH', 'image_tasks:dead', letter)
  redis.call('LTRIM', 'image_tasks:dead', 0, DEAD_MAX - 1)
  redis.call('PEXPIRE', 'image_tasks:dead', DEAD_TTL_MS)
  event('dead', 'task', element, 'worker', worker, 'reason', reason)
end

local function bury_task(id, worker, reason, now)
  local key = 'task:' .. id
  redis.call('HSET', key, 'state', 'dead', 'error', reason, 'finished', now)
  redis.call('PEXPIRE', key, DEAD_TTL_MS)
  if worker ~= '' then redis.call('HINCRBY', 'workers:failed', worker, 1) end
  local batch = string.match(id, '^(.+):%d+$')
  if batch then finish_in_batch(batch, 'dead', 1, DEAD_TTL_MS) end
  bury(id, worker, reason, now)
end

-- The lease is over: the task is nobody's.
local function unlease(worker, ...)
  redis.call('ZREM', 'image_tasks:leases', ...)
  redis.call('HDEL', 'image_tasks:owners', ...)
  redis.call('ZREM', 'worker:' .. worker .. ':tasks', ...)
end

-- Take a leased task from its worker and put it back at the head of the queue. If it was running
-- when its worker died, that counts as a crash; the third makes it a dead letter.
local function take_back(id, worker, crashed, reason, max_crashes, now)
  unlease(worker, id)
  local key = 'task:' .. id
  if crashed then
    local crashes = redis.call('HINCRBY', key, 'crashes', 1)
    if crashes >= max_crashes then
      bury_task(id, worker, 'lost its worker ' .. crashes .. ' times, last time: ' .. reason, now)
      return
    end
    redis.call('HINCRBY', 'labkit:stats', 'requeued', 1)
    event('requeued', 'task', id, 'worker', worker, 'reason', reason)
  end
  redis.call('LPUSH', 'image_tasks', id)
end

-- Give back all that a worker holds. The first that it holds is the one that it was running.
-- Asked for the expired ones, it leaves those whose lease still runs.
local function take_all(worker, crashed, reason, max_crashes, now, expired)
  local held = redis.call('ZRANGE', 'worker:' .. worker .. ':tasks', 0, -1)
  local unstarted = {}
  for i = #held, 1, -1 do
    local id = held[i]
    local lease_end = expired and tonumber(redis.call('ZSCORE', 'image_tasks:leases', id) or 0)
    if not expired or lease_end <= now then
      local was_running = crashed and i == 1
      take_back(id, worker, was_running, reason, max_crashes, now)
      if not was_running then table.insert(unstarted, 1, id) end
    end
  end
  if #unstarted > 0 then
    event('released', 'worker', worker, 'tasks', table.concat(unstarted, ' '))
  end
  return #held
end
