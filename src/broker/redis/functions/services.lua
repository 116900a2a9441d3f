-- The functions for other services. All arguments are checked, and each error says what to do.

local PUBLISH_USAGE = 'TIDINGS_BAD_REQUEST Call it so: FCALL tidings_publish 1 <prefix> <address> <event> <data as JSON> ' ..
  '[KEEP inbox|replay|none] [TTL <seconds>] [KEY <key>] [IDEMPOTENCY <key>] [TRACEPARENT <value>]'

local OPTIONS = {
  KEEP = function(req, value)
    req.keep = value:lower()
    if req.keep ~= 'inbox' and req.keep ~= 'replay' and req.keep ~= 'none' then return 'TIDINGS_BAD_KEEP Use KEEP inbox, replay or none' end
  end,
  TTL = function(req, value, limit)
    req.ttl = value:find('^%d+$') and #value <= 15 and tonumber(value)
    if not req.ttl or req.ttl < 1 or req.ttl > limit.seconds then
      return 'TIDINGS_BAD_TTL Use TTL with whole seconds, 1 to HISTORY_SECONDS (' .. int(limit.seconds) .. ')'
    end
  end,
  KEY = function(req, value)
    req.key = value
    if not is_name(value) then return 'TIDINGS_BAD_KEY Use a KEY of 1 to 128 characters without control characters, in UTF-8' end
  end,
  IDEMPOTENCY = function(req, value)
    req.answer_key = ':idem-fcall:' .. value
    if not is_name(value) then return 'TIDINGS_BAD_IDEMPOTENCY_KEY Use an IDEMPOTENCY key of 1 to 128 characters without control characters' end
  end,
  TRACEPARENT = function(req, value)
    local version, known, more = value:match('^(%x%x)(%-' .. ('%x'):rep(32) .. '%-' .. ('%x'):rep(16) .. '%-%x%x)(.*)$')
    -- In versions after 00 more may follow.
    req.traceparent = known and '00' .. known
    if not known or (more ~= '' and (version == '00' or more:sub(1, 1) ~= '-')) then
      return 'TIDINGS_BAD_TRACEPARENT Use a TRACEPARENT as W3C Trace Context writes it: 00-<32 hex digits>-<16>-<2>'
    end
  end
}

local function option_fault(req, args, limit)
  local given = {}
  for i = 4, #args, 2 do
    local name = args[i]:upper()
    local take = OPTIONS[name]
    if not take or args[i + 1] == nil then return PUBLISH_USAGE end
    if given[name] then return 'TIDINGS_BAD_REQUEST ' .. name .. ' stands twice; give it once' end
    given[name] = true
    local fault = take(req, args[i + 1], limit)
    if fault then return fault end
  end
end

-- A Cluster client that follows ASK may reach a master that has only half of a moving slot. Such a master refuses
-- commands on two keys that are not both there, which this uses, so that nothing is begun on half of the data. (Nodes
-- never follow ASK.)
local function moving_fault(ctx)
  if PUBLISH ~= 'SPUBLISH' then return nil end
  local found = redis.pcall('EXISTS', ctx.prefix .. ':moving', ctx.prefix .. ':moved')
  if type(found) == 'number' then return nil end
  -- The messages of Redis 7, and of Redis 8 and Valkey.
  if not found.err:find('non local key', 1, true) and not found.err:find('rehashing of the slot', 1, true) then return found.err end
  return 'TIDINGS_NOT_READY The slot of ' .. ctx.prefix .. ' is on its way to another master; call again when it is there'
end

-- FCALL tidings_publish 1 <prefix> <address> <event> <data, JSON> [KEEP …] [TTL …] [KEY …] [IDEMPOTENCY …] [TRACEPARENT
-- …]
-- Reply: [id, or nil with KEEP none; nodes that got it]. Error: "TIDINGS_… what to do"; then nothing was stored.
local function publish(keys, args)
  if #keys ~= 1 or #args < 3 then return redis.error_reply(PUBLISH_USAGE) end
  local ctx, address, event, data = open(keys), args[1], args[2], args[3]
  local fault = moving_fault(ctx) or address_fault(address) or event_fault(event) or json_fault(data, ctx.limits.max_bytes)
  if fault then return redis.error_reply(fault) end
  -- Line breaks can only be between tokens, and a frame must be one line.
  if data:find('\n', 1, true) or data:find('\r', 1, true) then data = data:gsub('[\r\n]', ' ') end
  local is_divided = others.known(ctx) and address:sub(1, 5) ~= 'user:'
  fault = others.fault(ctx, address)
  if fault then return redis.error_reply(fault) end
  if #args == 3 and not is_divided then return { publish_plain(ctx, next_id(ctx), address, event, data, true) } end
  local req = { to = { address }, event = event, data = data, keep = 'inbox', by_service = true }
  fault = option_fault(req, args, ctx.limits)
  if fault then return redis.error_reply(fault) end
  if req.answer_key then
    -- All services share these keys, and two may number their messages alike, so a key counts for one address.
    local known = known_answer(ctx.prefix .. req.answer_key, req)
    if known and known[3][1] ~= address then req.answer_key = req.answer_key .. '\0' .. address end
  end
  -- The id is taken before the targets are looked up: that shows whether the data was lost, and then all partitions are
  -- targets.
  local order = is_divided and next_id(ctx)
  if order and req.keep ~= 'none' then req.id = order end
  local targets = is_divided and others.targets(ctx, address)
  local replayed, answer = publish_request(ctx, req)
  if is_divided and not replayed then others.publish(ctx, order, req, targets) end
  return { answer[1] ~= '' and answer[1], answer[2][1] or 0 }
end

local RETRACT_USAGE = 'TIDINGS_BAD_REQUEST Call it so: FCALL tidings_retract 1 <prefix> <address> ID <id>, or KEY <key>'

-- FCALL tidings_retract 1 <prefix> <address> ID <id> | KEY <key>
-- Reply: 1, or 0 if there is no such notification any more.
local function retract(keys, args)
  if #keys ~= 1 or #args ~= 3 then return redis.error_reply(RETRACT_USAGE) end
  local ctx, what, name = open(keys), nil, args[2]:upper()
  local fault = moving_fault(ctx) or address_fault(args[1])
  if fault then return redis.error_reply(fault) end
  if name == 'KEY' then what = { key = args[3] }
  elseif name == 'ID' and args[3]:find('^[1-9]%d*$') and #args[3] <= 16 then what = { id = tonumber(args[3]) } end
  if not what then return redis.error_reply(RETRACT_USAGE) end
  fault = what.key and OPTIONS.KEY({}, what.key)
  if fault then return redis.error_reply(fault) end
  fault = others.fault(ctx, args[1])
  if fault then return redis.error_reply(fault) end
  local notes = ctx.prefix .. ':keys:' .. args[1]
  others.must_be_allowed('ZADD', notes, 'XX', '0', '0')
  others.must_be_allowed('ZREMRANGEBYSCORE', notes, '0', '0')
  others.must_be_allowed(PUBLISH, ctx.prefix .. ':' .. args[1], '')
  if not others.known(ctx) then return retract_unread(ctx, args[1], what) end
  local id = what.id and others.id_of(ctx, args[1], what.id) or tonumber(redis.call('ZSCORE', ctx.prefix .. ':keys:' .. args[1], what.key) or nil)
  local origin = id and others.origin_unread(ctx, args[1], id, what.id)
  local targets = others.targets(ctx, args[1])
  if not id or retract_unread(ctx, args[1], { id = id, key = what.key }) == 0 then return 0 end
  -- A service whose ACL lacks this key can retract all the same; then an older copy that comes later, is taken.
  pcall(others.remember_key, ctx, args[1], what.key, origin)
  local n = others.retract(ctx, targets, origin)
  if n ~= '' then others.nudge(ctx) end
  return 1
end

-- What the two functions run, about in order, on keys after the prefix; @ is the address, # its name.
others.NEEDS = {
  tidings_publish = {
    { 'TIME' }, { 'HMGET', ':config', 'x' }, { 'INCRBY', ':clock', '1' }, { 'SET', ':clock', '1' }, { PUBLISH, ':@', '' }, { 'XADD', ':log:@', '*', 'e', 'x' },
    { 'EXPIREAT', ':log:@', '1' }, { 'XLEN', ':log:@' }, { 'GET', ':idem-fcall:x' }, { 'SET', ':idem-fcall:x', '1' }, { 'ZSCORE', ':keys:@', 'x' },
    { 'ZADD', ':keys:@', '1', 'x' }, { 'EXPIREAT', ':keys:@', '1' }, { 'XDEL', ':log:@', '1-0' }, { 'ZREMRANGEBYSCORE', ':keys:@', '0', '0' },
    { 'SADD', ':overlong', 'x' }, { 'EXPIRE', ':overlong', '1' }, { 'HGET', ':config', 'x' }, { 'HSET', ':config', 'x', '1' }, { 'SET', ':born', '1' },
    { 'HGETALL', ':members:#' }
  },
  tidings_retract = {
    { 'TIME' }, { 'HMGET', ':config', 'x' }, { 'INCRBY', ':clock', '1' }, { 'SET', ':clock', '1' }, { PUBLISH, ':@', '' }, { 'ZSCORE', ':keys:@', 'x' },
    { 'XDEL', ':log:@', '1-0' }, { 'ZADD', ':keys:@', '1', 'x' }, { 'ZREMRANGEBYSCORE', ':keys:@', '0', '0' }, { 'HGETALL', ':members:#' },
    { 'GET', ':was:@:1' }
  }
}

-- Redis names neither the command nor the key that a user may not use, and each version has other words.
function others.lacks_right(words)
  return words:find("script can't", 1, true) or words:find('ACL failure in script', 1, true) or words:find('^NOPERM ') and not words:find('^NOPERM This user')
end

function others.missing_right(name, prefix, address)
  for _, need in ipairs(others.NEEDS[name]) do
    local key = need[2] and prefix .. need[2]:gsub('[@#]', { ['@'] = address, ['#'] = address:match(':(.*)$') or '' })
    -- A command that this Redis does not know is an error.
    local is_known, may = pcall(redis.acl_check_cmd, need[1], unpack({ key, unpack(need, 3) }))
    if is_known and not may then return need[1] .. (key and ' on ' .. key or '') end
  end
  return 'all that ' .. name .. ' runs'
end

-- Registers a function for other services, whose errors become its reply.
function others.serve(name, callback)
  redis.register_function(name, function(keys, args)
    local ok, result = pcall(callback, keys, args)
    if ok and (type(result) ~= 'table' or not result.err) then return result end
    local words = type(result) == 'table' and result.err or tostring(result)
    if others.lacks_right(words) then
      words = ('NOPERM This user may not run %s, which is needed here; nothing was done. The documents have the ACL recipe')
        :format(others.missing_right(name, keys[1], args[1]))
    end
    return redis.error_reply(words)
  end)
end
