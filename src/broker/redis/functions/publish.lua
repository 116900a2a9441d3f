-- Publishing and taking back: one id, the logs, the channels; all or nothing.

local IDEMPOTENT_SECONDS = 86400
-- Addresses of an answer that are kept with it, in bytes. Beyond it, their hash: who asks again has them.
local KEPT_ADDRESS_BYTES = 4096
-- What stands on a channel begins so. Who can only PUBLISH does not know the nonce, so nodes take it for what it is: a forgery.
local DURABLE = '{"tidings":1,"n":"' .. NONCE .. '","id":'

local function encode(text) return (cjson.encode(text):gsub('\\/', '/')) end

-- Answers one of many who ask in the same call. What fails for one, a key that is stuck, fails for that one alone: ['error', why].
local function alone(answer, ...)
  local ok, result = pcall(answer, ...)
  if ok then return result end
  return { 'error', type(result) == 'table' and result.err or tostring(result) }
end

local function length_of(ctx, address)
  return address:sub(1, 5) == 'user:' and ctx.limits.user_length or ctx.limits.group_length
end

-- Trims a log that has outgrown its length, and notes up to where: whoever was not beyond it has missed something.
local function trim(ctx, address, id)
  local log, length = ctx.prefix .. ':log:' .. address, length_of(ctx, address)
  if redis.call('XLEN', log) < length + TRIM_STEP then return end
  redis.call('XTRIM', log, 'MAXLEN', length + 1)
  local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][1]:match('^%d+')
  redis.call('XTRIM', log, 'MAXLEN', length)
  redis.call('SET', ctx.prefix .. ':trim:' .. address, oldest, 'EXAT', end_of(id, ctx.limits.seconds))
  redis.call('ZREMRANGEBYSCORE', ctx.prefix .. ':keys:' .. address, '-inf', oldest)
end

-- To trim is to read, which other services may not: a node does it within the second. Not every publish looks.
local LOOKS = 16
local function ask_for_trim(ctx, address, id)
  if id % LOOKS ~= 0 or redis.call('XLEN', ctx.prefix .. ':log:' .. address) < length_of(ctx, address) + TRIM_STEP then return end
  redis.call('SADD', ctx.prefix .. ':overlong', address)
  redis.call('EXPIRE', ctx.prefix .. ':overlong', DAY_SECONDS)
end

-- What stands where a log should (another type, or ids of the future) is put away, and its readers are told.
local function put_away(ctx, address, log, id)
  redis.call('UNLINK', log)
  redis.call('SET', ctx.prefix .. ':trim:' .. address, int(id - 1), 'EXAT', end_of(id, ctx.limits.seconds))
end

local function append(ctx, address, log, entry_id, id, fields)
  local added = redis.pcall('XADD', log, entry_id, unpack(fields))
  if type(added) == 'string' then return end
  local why = added.err or ''
  if not (why:find('WRONGTYPE', 1, true) or why:find('equal or smaller', 1, true)) then error(added, 0) end
  put_away(ctx, address, log, id)
  redis.call('XADD', log, entry_id, unpack(fields))
end

-- Takes out the older one with the same key, on purpose: no gap.
local function replace_key(ctx, address, log, key, id, ends, order)
  local keys = ctx.prefix .. ':keys:' .. address
  local older = redis.call('ZSCORE', keys, key)
  -- Which of two is the newer one, the ids say that publishers were answered: so it is the same in every partition.
  if older and order and others.origin_of(ctx, address, tonumber(older)) > order then
    redis.call('XDEL', log, int(id) .. '-0')
    return
  end
  redis.call('ZADD', keys, int(id), key)
  redis.call('EXPIREAT', keys, ends)
  if older then redis.call('XDEL', log, int(older) .. '-0') end
end

-- Writes to the logs. What was written is taken back if anything fails.
local function store(ctx, req)
  local id, prefix = req.id, ctx.prefix
  local entry_id, ends = int(id) .. '-0', end_of(id, ctx.limits.seconds)
  local fields = { 'e', req.event, 'd', req.data }
  local function add(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if req.keep == 'replay' then add('r', '1') end
  if req.expires then add('x', int(req.expires)) end
  if req.key then add('k', req.key) end
  if req.shared then add('m', '1') end
  if req.origin then add('o', int(req.origin)) end
  local written = {}
  local ok, why = pcall(function()
    for i, address in ipairs(req.to) do
      local log = prefix .. ':log:' .. address
      append(ctx, address, log, entry_id, id, fields)
      written[i] = log
      redis.call('EXPIREAT', log, ends)
      if req.by_service then ask_for_trim(ctx, address, id) end
    end
    -- From here on others' entries go: all that may be refused has been asked for.
    for i, address in ipairs(req.to) do
      if req.key then replace_key(ctx, address, written[i], req.key, id, ends, req.order) end
      if not req.by_service then trim(ctx, address, id) end
    end
  end)
  if ok then return end
  for _, log in ipairs(written) do redis.pcall('XDEL', log, entry_id) end
  error(why, 0)
end

-- Tells the nodes. Returns for each address how many took it.
local function send(ctx, req)
  local payload
  if req.keep == 'none' then payload = '{"event":"' .. req.event .. '"' else payload = DURABLE .. int(req.id) .. ',"event":"' .. req.event .. '"' end
  if req.traceparent then payload = payload .. ',"tp":' .. encode(req.traceparent) end
  payload = payload .. ',"data":' .. req.data .. '}'
  local receivers = {}
  for i, address in ipairs(req.to) do
    local reply = redis.pcall(PUBLISH, ctx.prefix .. ':' .. address, payload)
    if type(reply) == 'number' then receivers[i] = reply else
      -- Whoever may not speak on the channel has not published. Once it was said to one, it was.
      if i == 1 then
        if req.keep ~= 'none' then redis.pcall('XDEL', ctx.prefix .. ':log:' .. address, int(req.id) .. '-0') end
        error(reply, 0)
      end
      receivers[i] = 0
    end
  end
  return receivers
end

local function keep_answer(key, req, receivers)
  if not key then return end
  local joined = #req.to == 1 and req.to[1] or table.concat(req.to, '\0')
  local answer = { req.id and int(req.id) or '', receivers, #joined <= KEPT_ADDRESS_BYTES and req.to or redis.sha1hex(joined) }
  redis.call('SET', key, cmsgpack.pack(answer), 'EX', IDEMPOTENT_SECONDS)
end

-- [id or '', receivers, addresses] of an earlier publish with the same key; an answer of the old library was address, id, receivers…
local function known_answer(key, req)
  local text = redis.call('GET', key)
  if not text then return nil end
  local answer = cmsgpack.unpack(text)
  if type(answer[2]) ~= 'table' then
    local known = { answer[2] or '', {}, {} }
    for i = 1, #answer, 3 do
      known[2][#known[2] + 1] = answer[i + 2]
      known[3][#known[3] + 1] = answer[i]
    end
    return known
  end
  if type(answer[3]) == 'string' then
    -- Another request with the same key: it has the first answer's id, and whom that was for is not known any more.
    if answer[3] == redis.sha1hex(table.concat(req.to, '\0')) then answer[3] = req.to else answer[2], answer[3] = {}, {} end
  end
  return answer
end

local function end_and_trim(ctx, id, address, log, by_service)
  redis.call('EXPIREAT', log, end_of(id, ctx.limits.seconds))
  if by_service then ask_for_trim(ctx, address, id) else trim(ctx, address, id) end
end

-- The most of what is published: to one address, without options. As store and send, in fewer steps.
local function publish_plain(ctx, id, address, event, data, by_service)
  local prefix, text = ctx.prefix, int(id)
  local log = prefix .. ':log:' .. address
  local added = redis.pcall('XADD', log, text .. '-0', 'e', event, 'd', data)
  if type(added) ~= 'string' then append(ctx, address, log, text .. '-0', id, { 'e', event, 'd', data }) end
  local ok, why = pcall(end_and_trim, ctx, id, address, log, by_service)
  local receivers = not ok and why or redis.pcall(PUBLISH, prefix .. ':' .. address, DURABLE .. text .. ',"event":"' .. event .. '","data":' .. data .. '}')
  if type(receivers) == 'number' then return text, receivers end
  redis.pcall('XDEL', log, text .. '-0')
  error(receivers, 0)
end

-- req: to, event, data, keep, ttl, key, traceparent, answer_key, and id where one was reserved.   Returns whether it is an earlier answer, and
-- [id or '', receivers, addresses].
local function publish_request(ctx, req)
  local answer_key = req.answer_key and ctx.prefix .. req.answer_key
  local known = answer_key and known_answer(answer_key, req)
  if known then return true, known end
  if req.keep == 'inbox' and #req.to == 1 and not req.key and not req.ttl and not req.traceparent and not req.by_service then
    local text, taken = publish_plain(ctx, req.id or next_id(ctx), req.to[1], req.event, req.data)
    keep_answer(answer_key, { id = text, to = req.to }, { taken })
    return false, { text, { taken }, req.to }
  end
  if req.keep == 'none' then req.id = nil else
    req.id = req.id or next_id(ctx)
    if req.ttl and req.ttl < ctx.limits.seconds then req.expires = req.id + req.ttl * SECOND end
    if #req.to > 1 then
      for _, address in ipairs(req.to) do req.shared = req.shared or address:sub(1, 5) ~= 'user:' end
    end
    store(ctx, req)
  end
  -- Whoever may not keep answers finds out before anybody is told.
  if answer_key and req.by_service then keep_answer(answer_key, req, { 0 }) end
  local ok, receivers = pcall(send, ctx, req)
  if not ok then
    if answer_key and req.by_service then redis.pcall('UNLINK', answer_key) end
    error(receivers, 0)
  end
  if answer_key then keep_answer(answer_key, req, receivers) end
  return false, { req.id and int(req.id) or '', receivers, req.to }
end

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
    if not is_name(value) then return 'TIDINGS_BAD_KEY Use a KEY of 1 to 128 characters without control characters' end
  end,
  IDEMPOTENCY = function(req, value)
    req.answer_key = ':idem-fcall:' .. value
    if not is_name(value) then return 'TIDINGS_BAD_IDEMPOTENCY_KEY Use an IDEMPOTENCY key of 1 to 128 characters without control characters' end
  end,
  TRACEPARENT = function(req, value)
    req.traceparent = value
    if not value:find('^%x%x%-' .. ('%x'):rep(32) .. '%-' .. ('%x'):rep(16) .. '%-%x%x$') then
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

-- FCALL tidings_publish 1 <prefix> <address> <event> <data, JSON> [KEEP …] [TTL …] [KEY …] [IDEMPOTENCY …] [TRACEPARENT …]
-- Reply: [id, or nil with KEEP none; nodes that took it]. Error: "TIDINGS_… what to do"; then nothing was stored.
local function publish(keys, args)
  if #keys ~= 1 or #args < 3 then return redis.error_reply(PUBLISH_USAGE) end
  local ctx, address, event, data = open(keys), args[1], args[2], args[3]
  local fault = address_fault(address) or event_fault(event) or json_fault(data, ctx.limits.max_bytes)
  if fault then return redis.error_reply(fault) end
  -- Line breaks can only stand between tokens, and a frame must be one line.
  if data:find('[\r\n]') then data = data:gsub('[\r\n]', ' ') end
  local is_divided = others.known(ctx) and address:sub(1, 5) ~= 'user:'
  fault = others.fault(ctx, address)
  if fault then return redis.error_reply(fault) end
  if #args == 3 and not is_divided then return { publish_plain(ctx, next_id(ctx), address, event, data, true) } end
  local req = { to = { address }, event = event, data = data, keep = 'inbox', by_service = true }
  fault = option_fault(req, args, ctx.limits)
  if fault then return redis.error_reply(fault) end
  local replayed, answer = publish_request(ctx, req)
  if is_divided and not replayed then others.publish(ctx, address, req.id or next_id(ctx), req) end
  return { answer[1] ~= '' and answer[1], answer[2][1] or 0 }
end

-- Says something to the streams of an address that is not a notification.
local function tell_event(ctx, address, event, as_of, json)
  redis.call(PUBLISH, ctx.prefix .. ':' .. address, DURABLE .. '0,"asOf":' .. int(as_of) .. ',"event":"' .. event .. '","data":' .. json .. '}')
end

-- Entries as Redis gives them, with names. `x`: the id at which it expires.
local function read_entry(raw, most_bytes)
  local entry = { id = tonumber(raw[1]:match('^%d+')), event = '', data = '' }
  local fields = raw[2]
  if fields[1] == 'e' and fields[3] == 'd' then entry.event, entry.data = fields[2], fields[4] end
  -- Not written by us: a stream could not take it, and would come back for it for ever.
  if #entry.data > most_bytes then entry.event, entry.data = '', '' end
  for i = 5, #fields > 4 and #fields or 0, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'x' then entry.x = tonumber(value) else entry[name] = value end
  end
  return entry
end

local function tell_retracted(ctx, address, id, key, as_of)
  local member = key and ',"key":' .. encode(key) or ''
  tell_event(ctx, address, 'retracted', as_of, '{"to":' .. encode(address) .. ',"id":"' .. int(id) .. '"' .. member .. '}')
end

-- what: id (a number) or key. Returns 1 if it was taken back.
local function retract_from(ctx, address, what)
  local log, keys = ctx.prefix .. ':log:' .. address, ctx.prefix .. ':keys:' .. address
  local id = what.id or tonumber(redis.call('ZSCORE', keys, what.key) or nil)
  if not id then return 0 end
  local raw = redis.call('XRANGE', log, int(id) .. '-0', int(id) .. '-0')[1]
  if not raw then return 0 end
  local entry, as_of = read_entry(raw, math.huge), next_id(ctx)
  if (entry.x and entry.x <= as_of) or id <= as_of - ctx.limits.seconds * SECOND then return 0 end
  redis.call('XDEL', log, raw[1])
  if entry.k then redis.call('ZREM', keys, entry.k) end
  tell_retracted(ctx, address, id, entry.k, as_of)
  return 1
end

-- The same without reading, which other services may not.
local function retract_unread(ctx, address, what)
  local log, keys, as_of = ctx.prefix .. ':log:' .. address, ctx.prefix .. ':keys:' .. address, next_id(ctx)
  local id = what.id or tonumber(redis.call('ZSCORE', keys, what.key) or nil)
  if not id or redis.call('XDEL', log, int(id) .. '-0') == 0 then return 0 end
  redis.call('ZREMRANGEBYSCORE', keys, int(id), int(id))
  if id <= as_of - ctx.limits.seconds * SECOND then return 0 end
  tell_retracted(ctx, address, id, what.key, as_of)
  return 1
end

local RETRACT_USAGE = 'TIDINGS_BAD_REQUEST Call it so: FCALL tidings_retract 1 <prefix> <address> ID <id>, or KEY <key>'

-- FCALL tidings_retract 1 <prefix> <address> ID <id> | KEY <key>
-- Reply: 1, or 0 if there was none, or not any more.
local function retract(keys, args)
  if #keys ~= 1 or #args ~= 3 then return redis.error_reply(RETRACT_USAGE) end
  local ctx, what, name = open(keys), nil, args[2]:upper()
  local fault = address_fault(args[1])
  if fault then return redis.error_reply(fault) end
  if name == 'KEY' then what = { key = args[3] } elseif name == 'ID' and args[3]:find('^[1-9]%d*$') and #args[3] <= 16 then what = { id = tonumber(args[3]) } end
  if not what then return redis.error_reply(RETRACT_USAGE) end
  fault = others.fault(ctx, args[1])
  if fault then return redis.error_reply(fault) end
  if not others.known(ctx) then return retract_unread(ctx, args[1], what) end
  local id = what.id and others.id_of(ctx, args[1], what.id) or tonumber(redis.call('ZSCORE', ctx.prefix .. ':keys:' .. args[1], what.key) or nil)
  if not id or retract_unread(ctx, args[1], { id = id, key = what.key }) == 0 then return 0 end
  local n = others.retract(ctx, args[1], what.id or id)
  if n ~= '' then others.nudge(ctx) end
  return 1
end
