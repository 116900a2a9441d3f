-- Functions for nodes of 0.1.0 (library version 5), with their arguments and replies. To be removed in the next
-- version.

-- ARGV: history_length, history_seconds, max_data_bytes, the run id of this Redis process, the newest id that the node
-- was answered by an earlier process, 0 if existing settings must be kept.
-- Reply: [version, born]
local function old_setup(keys, args)
  local ctx = open(keys)
  local id = configure_with(ctx, {
    user_length = tonumber(args[1]), group_length = tonumber(redis.call('HGET', keys[1] .. ':config', 'group_history_length') or args[1]),
    seconds = tonumber(args[2]), max_bytes = tonumber(args[3]), run_id = args[5] and args[4], newest_before = tonumber(args[5]), looked = 0,
    is_start = args[6] ~= '0'
  })
  -- The calling node keeps no receipts. It calls this each second.
  keeps_none(ctx, id)
  return { VERSION, redis.call('GET', keys[1] .. ':born') }
end

local function old_publish_one(ctx, args, at, count)
  local user, iat = args[at + 1], tonumber(args[at + 2])
  if is_publisher_revoked(ctx, user, iat) then refuse(REVOKED) end
  local req = { to = { unpack(args, at + 6, at + 5 + count) }, event = args[at + 3], data = args[at + 4], keep = 'inbox' }
  if args[at] ~= '' then req.answer_key = ':idem:' .. args[at] end
  local replayed, answer = publish_request(ctx, req)
  local reply = { replayed and 1 or 0 }
  for i, address in ipairs(answer[3]) do
    for _, value in ipairs { address, answer[1], answer[2][i] or 0 } do reply[#reply + 1] = value end
  end
  return reply
end

-- ARGV, for each request: idempotency key or '', publisher, their token's iat, event, data, how many addresses,
-- address…
-- Reply: for each [1 if an earlier call with this key has published, else 0, (address, id, nodes)…]
local function old_publish_requests(keys, args)
  local ctx, reply, at = open(keys), {}, 1
  while args[at] do
    local count = count_at(args, at + 5)
    reply[#reply + 1] = alone(old_publish_one, ctx, args, at, count)
    at = at + 6 + count
  end
  return reply
end

-- ARGV: window in ms, then for each visitor: user, the token's iat, cursor or '', how many counters, counter…
-- Reply: for each ['admitted', 'revoked' or 'replaced', hits of each counter in its window…]
local function old_visit(keys, args)
  local ctx, reply, at = open(keys), {}, 2
  local id = next_id(ctx)
  while args[at] do
    local count = count_at(args, at + 3)
    reply[#reply + 1] = alone(visit_one, ctx, id, args[1], args[at], { iat = tonumber(args[at + 1]), exp = 0 }, tonumber(args[at + 2]), args, at + 4, count)
    at = at + 4 + count
  end
  return reply
end

-- As read_pages, without exp and the visit's id. An empty claim may mean that there is none, so it takes nothing away.
-- Reply: [[id, event, data, …], for each: [position, gap, more, unread, [group, id…], [places…]]]
local function old_resume(keys, args)
  local call = open_history(keys, args[1], args[2])
  local reply, at = { call.shared }, 3
  while args[at] and call.work < call.most_work do
    local user, cursor, count = args[at], tonumber(args[at + 2]), count_at(args, at + 3)
    local token = { iat = tonumber(args[at + 1]), exp = 0, claimed = { unpack(args, at + 4, at + 3 + count) }, takes = false }
    local page = alone(resume_one, call, user, token, cursor)
    if page[1] == 'error' then reply[#reply + 1] = page else
      local from, to = (redis.call('GET', keys[1] .. ':kept:gap:' .. user) or ''):match('^(%d+) (%d+)$')
      if from and cursor and cursor > tonumber(from) and cursor <= tonumber(to) then page[2] = 1 end
      reply[#reply + 1] = { page[1], page[2], page[3], page[9], page[4], page[5] }
    end
    at = at + 4 + count
  end
  return reply
end

register('tidings_setup', old_setup)
register('tidings_publish_requests', old_publish_requests)
register('tidings_visit', old_visit)
register('tidings_resume', old_resume)
