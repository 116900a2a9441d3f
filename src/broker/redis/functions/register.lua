-- Registers the functions under their names.

-- Registers a function whose errors become its reply unchanged.
local function register(name, callback)
  redis.register_function(name, function(keys, args)
    local ok, result = pcall(callback, keys, args)
    if ok then return result end
    return redis.error_reply(type(result) == 'table' and result.err or tostring(result))
  end)
end

-- ARGV: how many requests, then for each: idempotency key or '', publisher or '', their token's iat, event, data, keep,
-- ttl or '', key or '', traceparent or '', how many addresses, address…
-- Reply: for each [1 if an earlier call with this key has published, else 0; id or ''; [nodes that got it, for each
-- address]; [address, …], or 0 if they are those of the request]
local function publish_one(ctx, id, args, at, count)
  local key, user, keep, ttl, replaces, traceparent = args[at], args[at + 1], args[at + 5], args[at + 6], args[at + 7], args[at + 8]
  if user ~= '' and is_publisher_revoked(ctx, user, tonumber(args[at + 2])) then refuse(REVOKED) end
  if count == 1 and keep == 'inbox' and key == '' and ttl == '' and replaces == '' and traceparent == '' then
    local text, receivers = publish_plain(ctx, id, args[at + 10], args[at + 3], args[at + 4])
    return { 0, text, { receivers }, 0 }
  end
  local req = {
    id = id, answer_key = key ~= '' and ':idem:' .. key, event = args[at + 3], data = args[at + 4], keep = keep, ttl = tonumber(ttl),
    key = replaces ~= '' and replaces, traceparent = traceparent ~= '' and traceparent, to = { unpack(args, at + 10, at + 9 + count) }
  }
  local replayed, answer = publish_request(ctx, req)
  return { replayed and 1 or 0, answer[1], answer[2], answer[3] == req.to and 0 or answer[3] }
end

local function publish_all(keys, args)
  local ctx, reply, at = open(keys), {}, 2
  -- Reserves all ids at once, so the clock is read once for the whole call.
  local requests = count_at(args, 1)
  local first = reserve(ctx, math.max(1, requests))
  while args[at] and #reply < requests do
    local count = count_at(args, at + 9)
    reply[#reply + 1] = alone(publish_one, ctx, first + #reply, args, at, count)
    at = at + 10 + count
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
redis.register_function('tidings_publish', publish)
register('tidings_retract', retract)
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
