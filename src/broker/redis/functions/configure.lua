-- Called by nodes at their start and once a second: sets limits, returns the nonce, and notices lost data.

-- Redis has 16 databases unless its configuration says more. So many are looked at.
local MOST_DATABASES = 1024
-- An installation in another database counts as running if its clock is this recent.
local ALIVE = 30 * SECOND

-- Pub/Sub ignores databases: an installation with the same prefix in another database would get our messages, and we
-- theirs.
local function other_database(ctx, own)
  local found
  for database = 0, MOST_DATABASES - 1 do
    if database ~= own and not found then
      local selected = redis.pcall('SELECT', database)
      if selected.err then break end
      local seen = redis.pcall('HGET', ctx.prefix .. ':config', 'clock_seen')
      if type(seen) == 'string' and math.abs(ctx.now - (tonumber(seen) or 0)) < ALIVE then found = database end
    end
  end
  redis.pcall('SELECT', own)
  return found
end

-- The newest id that this process gave, the clock from which it went on, and the first id after that. If somebody else
-- has moved the clock since, the data is other data: loaded, or copied from a master.
local given, went_on_from, began_with = {}, {}, {}

function others.gives(ctx, before, id)
  local prefix = ctx.prefix
  if given[prefix] ~= before then
    went_on_from[prefix] = before
    -- Of several ids that are given at once, `id` is the last.
    began_with[prefix] = math.min(id, math.max(ctx.now, before + 1))
  end
  given[prefix], ctx.last = id, id
end

-- Within this time every node has noticed a loss, since each asks once a second.
local DOUBT = 3 * SECOND

-- The newest looks (calls of `configure`) of all nodes are remembered, so many and so many characters of them.
local LOOKS, LOOK_LENGTH = 64, 17

-- Whether the data does not know of a look, although it knows of an older one. Several nodes may have looked since, but
-- not all: so it is not enough to compare with the newest.
local function lacks_look(looks, looked)
  local oldest = tonumber(looks:match('%d+') or nil)
  return oldest and looked > oldest and not (' ' .. looks .. ' '):find(' ' .. int(looked) .. ' ', 1, true)
end

local function with_look(looks, id)
  -- The first may be cut in the middle.
  if #looks >= LOOKS * LOOK_LENGTH then looks = looks:sub(-LOOKS * LOOK_LENGTH):gsub('^%d* ', '') end
  return looks .. ' ' .. int(id)
end

-- If a Redis process started with a clock behind an id that a node was answered before, acknowledged data was lost (a
-- failover, or a crash between two writes to disk). If the data does not know of a call that this process answered, it
-- was replaced by older data without a restart (SWAPDB, DEBUG RELOAD, a resync). Nobody knows what is lost, so the
-- history begins anew and every older position is `incomplete`.
local function look_for_loss(ctx, clock, run_id, newest_before, looked)
  local key = ctx.prefix .. ':config'
  local run = redis.call('HMGET', key, 'run_id', 'run_clock', 'looks')
  local is_first, is_older = run[1] ~= run_id, lacks_look(run[3] or '', looked)
  if is_first then
    -- A service may have published before any node came, so that the clock is ahead of what was lost.
    local has_given, first = given[ctx.prefix] == clock, nil
    if has_given then run[2], first = went_on_from[ctx.prefix], began_with[ctx.prefix] else run[2], first = clock, next_id(ctx) end
    -- Positions between the two were given by an earlier process, and this data is older.
    redis.call('HSET', key, 'run_id', run_id, 'run_clock', int(run[2]), 'run_first', int(first), 'evicted', '0')
  end
  if is_older then newest_before = math.max(newest_before, looked) end
  if is_older or tonumber(run[2]) < newest_before then
    -- New ids continue above all answered ones, however far ahead the clock was that gave them.
    local born = math.max(next_id(ctx), newest_before + 1)
    ctx.last = born
    redis.call('MSET', ctx.prefix .. ':clock', int(born), ctx.prefix .. ':born', int(born))
    -- Recorded, so that the loss is handled once. Other nodes may know of newer ids, but all are before `born`.
    redis.call('HSET', key, 'run_clock', int(born), 'clock_seen', int(born), 'looks', int(born))
    -- Members of other partitions may be among what was lost.
    redis.call('HDEL', key, 'directory')
    ctx.limits.is_whole = false
    -- Other nodes came here before this one, which had gone on writing to the old master. Their streams have newer ids
    -- and were not told.
    if not is_first and not is_older then redis.call('HSET', key, 'doubt', int(born + DOUBT)) end
  end
end

-- How many logs one call trims.
local TRIMMED_AT_ONCE = 100
local function trim_overlong(ctx, id)
  for _, address in ipairs(redis.call('SPOP', ctx.prefix .. ':overlong', TRIMMED_AT_ONCE)) do trim(ctx, address, id) end
end

local function configure_with(ctx, c)
  local key = ctx.prefix .. ':config'
  local clock = tonumber(redis.call('GET', ctx.prefix .. ':clock')) or next_id(ctx)
  if ctx.prefix:find(':{%d+}$') then others.is_steady(ctx) end
  if c.is_start or redis.call('EXISTS', key) == 0 then
    -- Logs have expired by the shorter time until now, which a longer one does not undo.
    local old = tonumber(redis.call('HGET', key, 'history_seconds') or c.seconds)
    if c.seconds > old then redis.call('HSET', key, 'kept_since', int(next_id(ctx) - old * SECOND)) end
    redis.call('HSET', key, 'history_length', int(c.user_length), 'group_history_length', int(c.group_length),
      'history_seconds', int(c.seconds), 'max_data_bytes', int(c.max_bytes))
    limits = {}
  end
  if c.run_id then look_for_loss(ctx, clock, c.run_id, c.newest_before, c.looked) end
  -- Taking an id each second proves that Redis accepts writes, and keeps the clock of ids up to date.
  local id = next_id(ctx)
  -- The first caller after a leap may have lacked the permission to record it.
  local seen = tonumber(redis.call('HGET', key, 'clock_seen') or nil)
  if seen and leapt(ctx, seen) then redis.call('SET', ctx.prefix .. ':born', int(id)) end
  redis.call('HSET', key, 'clock_seen', int(id), 'looks', with_look(redis.call('HGET', key, 'looks') or '', id))
  trim_overlong(ctx, id)
  -- Checked under any policy: it may have been another one at the time of the eviction.
  look_for_evictions(ctx, id)
  return id
end

-- Checks the rights without which no notification is stored, no stream filled, or only half of a publish undone. When
-- a function lacks a right, Redis says so only when the command is reached, and does not name it.
local function look_for_rights(ctx)
  local log = ctx.prefix .. ':log:all'
  others.must_be_allowed('XADD', log, '*', 'e', 'x')
  others.must_be_allowed('EXPIREAT', log, '1')
  others.must_be_allowed('XRANGE', log, '-', '+')
  others.must_be_allowed('MGET', ctx.prefix .. ':trim:all')
  others.must_be_allowed('HGETALL', ctx.prefix .. ':groups:x')
  others.must_be_allowed('XREAD', log, 'STREAMS', log, '0')
  others.must_be_allowed('XREVRANGE', log, '+', '-')
  others.must_be_allowed('XDEL', log, '1-0')
  others.must_be_allowed('ZADD', ctx.prefix .. ':keys:all', '1', 'x')
  others.must_be_allowed('ZREMRANGEBYSCORE', ctx.prefix .. ':keys:all', '0', '0')
end

-- ARGV: the database, history_length, group_history_length, history_seconds, max_data_bytes, the run id of this Redis
-- process, the newest id that the node was answered by an earlier process, 1 at the start of a node (0: existing
-- settings are kept), 1 if an older library was just replaced, 1 if the eviction policy can remove keys with an expiry,
-- the id that this process answered the node's last call (0: none).
-- Reply: [version, born, an id, the time in microseconds, the nonce]
local function configure(keys, args)
  local ctx, is_start = open(keys), args[8] == '1'
  if PUBLISH == 'SPUBLISH' and args[6]:find('^%x%x%x%x%x%x%x%x') then BY = ',"by":"' .. args[6]:sub(1, 8) .. '"' end
  look_for_rights(ctx)
  local found = is_start and other_database(ctx, tonumber(args[1]))
  if found then
    refuse('TIDINGS_OTHER_DATABASE Another installation with the prefix "' .. ctx.prefix .. '" runs in database ' .. found ..
      ' of this Redis, and channels are the same in all databases: give one of the two another REDIS_PREFIX')
  end
  local config_key = ctx.prefix .. ':config'
  local is_old_data = redis.call('EXISTS', config_key) == 1 and not redis.call('HGET', config_key, 'version')
  local id = configure_with(ctx, {
    user_length = tonumber(args[2]), group_length = tonumber(args[3]), seconds = tonumber(args[4]), max_bytes = tonumber(args[5]),
    run_id = args[6], newest_before = tonumber(args[7]), looked = tonumber(args[11]) or 0, is_start = is_start
  })
  if args[9] == '1' or is_old_data then redis.call('HSET', config_key, 'old_until', int(id)) end
  redis.call('HSET', config_key, 'version', VERSION, 'evicts', args[10])
  local born = redis.call('GET', ctx.prefix .. ':born')
  if not born or not born:find('^%d+$') or tonumber(born) > id then
    born = int(id)
    redis.call('SET', ctx.prefix .. ':born', born)
  end
  return { VERSION, born, int(id), int(ctx.now), NONCE }
end
