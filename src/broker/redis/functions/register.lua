-- Registers the functions under their names.

-- Registers a function whose errors become its reply unchanged.
local function register(name, callback)
  redis.register_function(name, function(keys, args)
    local ok, result = pcall(callback, keys, args)
    if ok then return result end
    return redis.error_reply(type(result) == 'table' and result.err or tostring(result))
  end)
end

-- ARGV: how many requests, then for each: idempotency key or '', publisher or '', their token's iat, event, data, and
-- '', address
-- or how many addresses, keep, ttl or '', key or '', traceparent or '', address…
-- Reply: for each [id, nodes that got it], or [1 if an earlier call with this key has published, else 0; id or '';
-- [nodes that got it, for each address]; [address, …], or 0 if they are those of the request]
local function publish_one(ctx, id, args, at, count)
  local key, user, event, data, is_plain = args[at], args[at + 1], args[at + 3], args[at + 4], args[at + 5] == ''
  if user ~= '' and is_publisher_revoked(ctx, user, tonumber(args[at + 2])) then refuse(REVOKED) end
  if is_plain and key == '' then return { publish_plain(ctx, id, args[at + 6], event, data) } end
  local req = { id = id, answer_key = key ~= '' and ':idem:' .. key, event = event, data = data, keep = 'inbox', to = { args[at + 6] } }
  if not is_plain then
    local keep, ttl, replaces, traceparent = unpack(args, at + 6, at + 9)
    req.keep, req.ttl, req.key, req.traceparent = keep, tonumber(ttl), replaces ~= '' and replaces, traceparent ~= '' and traceparent
    req.to = { unpack(args, at + 10, at + 9 + count) }
  end
  local replayed, answer = publish_request(ctx, req)
  return { replayed and 1 or 0, answer[1], answer[2], answer[3] == req.to and 0 or answer[3] }
end

local function publish_all(keys, args)
  local ctx, reply, at = open(keys), {}, 2
  -- Reserves all ids at once, so the clock is read once for the whole call.
  local requests = count_at(args, 1)
  local first = reserve(ctx, math.max(1, requests))
  while args[at] and #reply < requests do
    local is_plain = args[at + 5] == '' and args[at + 6]
    local count = is_plain and 1 or count_at(args, at + 5, 4)
    reply[#reply + 1] = alone(publish_one, ctx, first + #reply, args, at, count)
    at = at + (is_plain and 7 or 10 + count)
  end
  return reply
end

-- ARGV: publisher or '', their token's iat, address, 'id' or 'key', which.
-- Reply: 1, or 0 if there is no such notification any more
local function retract_one(keys, args)
  local ctx = open(keys)
  if is_publisher_revoked(ctx, args[1], tonumber(args[2])) then refuse(REVOKED) end
  return retract_from(ctx, args[3], args[4] == 'id' and { id = tonumber(args[5]) } or { key = args[5] })
end

-- For other services.
others.serve('tidings_publish', publish)
others.serve('tidings_retract', retract)
-- For nodes.
redis.register_function { function_name = 'tidings_version', callback = function() return VERSION end, flags = { 'no-writes' } }
register('tidings_configure', configure)
register('tidings_publish_all', publish_all)
register('tidings_retract_one', retract_one)
redis.register_function { function_name = 'tidings_groups', callback = groups_of, flags = { 'no-writes' } }
register('tidings_join', join)
register('tidings_leave', leave)
register('tidings_replace_groups', replace_groups)
register('tidings_logout', logout)
register('tidings_visits', visits)
register('tidings_claim', claim)
register('tidings_verify', verify)
register('tidings_hit', hit)
register('tidings_exchange', exchange)
register('tidings_ordinal', ordinal)
register('tidings_read_pages', read_pages)
register('tidings_list', list)
register('tidings_position', position)
register('tidings_move_cursor', move_cursor)
register('tidings_mark', set_inbox_mark)
register('tidings_record', record)
register('tidings_why', why)
register('tidings_stands', stands)
