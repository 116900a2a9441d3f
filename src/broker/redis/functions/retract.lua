-- Retracting notifications, and sending events without an id to the streams of an address.

-- Sends an event that is no notification to the streams of an address.
local function tell_event(ctx, address, event, as_of, json)
  redis.call(PUBLISH, ctx.prefix .. ':' .. address, DURABLE .. '0,"asOf":' .. int(as_of) .. ',"event":"' .. event .. '"' .. BY .. ',"data":' .. json .. '}')
end

local function tell_retracted(ctx, address, id, key, as_of)
  local member = key and ',"key":' .. encode(key) or ''
  tell_event(ctx, address, 'retracted', as_of, '{"to":' .. encode(address) .. ',"id":"' .. int(id) .. '"' .. member .. '}')
end

-- what: id (a number) or key; how, if it is remembered as something else than retracted. Returns 1 if there was such a
-- notification, else 0.
local function retract_from(ctx, address, what)
  local log, keys = ctx.prefix .. ':log:' .. address, ctx.prefix .. ':keys:' .. address
  local id = what.id or tonumber(redis.call('ZSCORE', keys, what.key) or nil)
  if not id then return 0 end
  local raw = redis.call('XRANGE', log, int(id) .. '-0', int(id) .. '-0')[1]
  if not raw then return 0 end
  local entry, as_of = read_entry(raw, math.huge), next_id(ctx)
  if (entry.x and entry.x <= as_of) or id <= as_of - ctx.limits.seconds * SECOND then return 0 end
  -- First what a key of another type makes fail, so that nothing is removed that nobody is told of.
  others.remember_key(ctx, address, entry.k, tonumber(entry.o) or id)
  forget_entry(ctx, address, id)
  redis.call('XDEL', log, raw[1])
  bury(ctx, address, id, what.how or 'r', as_of)
  tell_retracted(ctx, address, id, entry.k, as_of)
  return 1
end

-- The same without reading the log, which other services may not do.
local function retract_unread(ctx, address, what)
  local log, keys, as_of = ctx.prefix .. ':log:' .. address, ctx.prefix .. ':keys:' .. address, next_id(ctx)
  local id = what.id or tonumber(redis.call('ZSCORE', keys, what.key) or nil)
  if not id then return 0 end
  local ends = tonumber(redis.call('ZSCORE', keys, '\3' .. int(id)) or nil)
  if (ends and ends <= as_of) or id <= as_of - ctx.limits.seconds * SECOND then return 0 end
  if redis.call('XDEL', log, int(id) .. '-0') == 0 then return 0 end
  forget_entry(ctx, address, id)
  bury(ctx, address, id, 'r', as_of)
  tell_retracted(ctx, address, id, what.key, as_of)
  return 1
end
