-- The counts of one user at a glance: of most logs nothing is above what was read, and one look at many tells which have something. Only these
-- are opened. What a token would change is left to `enter_inbox`, and so are marks of "unread".

-- The id at which each group was joined, and what stands for the user; nil if the token says something new.
function down.glance(call, user, inbox, token)
  local flat = redis.call('HGETALL', call.prefix .. ':groups:' .. user)
  local groups, joined, count, known, has_left, stays = {}, {}, 0, nil, false, false
  local match, claims = string.match, token and token.claimed and {}
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if name == '' then known = read_user(value) else
      local at, by = match(value, '^%+(%d+)(%a?)')
      if at then
        count = count + 1
        groups[count], joined[count] = name, at
        if claims then claims[name] = by end
        stays = stays or by ~= 'c'
      else has_left = true end
    end
  end
  known = known or read_user(nil)
  if token then
    local now_seconds = math.floor(call.now / SECOND)
    local exp = math.min(token.exp, now_seconds + MAX_TOKEN_SECONDS)
    if not known.first or token.iat > known.iat or exp > known.exp then return nil end
    local life = math.ceil(exp - (token.iat > 0 and token.iat or now_seconds))
    if math.min(life, MAX_TOKEN_SECONDS) > call.limits.token_seconds then return nil end
    if token.claimed and token.iat >= known.claim then
      if token.iat > known.claim then return nil end
      for _, group in ipairs(token.claimed) do
        if (claims[group] or '') == '' then return nil end
      end
    end
    if not stays then end_groups(call, user, known.exp, has_left) end
  end
  return { user = user, inbox = inbox, groups = groups, joined = joined, first = known.first }
end

-- As view_of, of the logs that have something above `read`.
function down.news(call)
  local glance = call.glance
  local user, inbox = glance.user, glance.inbox
  local view = { user = user, inbox = inbox, logs = {} }
  local prefix, floor = call.prefix .. ':log:', math.max(inbox.read, call.since)
  local floor_text, groups, joined = int(floor), glance.groups, glance.joined
  local total = #groups + 2
  local first, bytes = 1, 0
  -- The first is the user's own log, the second that of all.
  local all_floor = math.max(floor, glance.first or math.huge)
  local function address_at(i) return i == 1 and 'user:' .. user or i == 2 and 'all' or 'group:' .. groups[i - 2] end
  -- Opened when somebody comes to it: a count may end before.
  function view.open(i)
    local from = i == 1 and floor or i == 2 and all_floor or math.max(floor, tonumber(joined[i - 2]))
    return { log = open_log(call, address_at(i)), floor = from, known = 0 }
  end
  while first <= total do
    local last = math.min(first + down.PROBED_AT_ONCE - 1, total)
    if bytes > down.WASTE_BYTES then
      for i = first, last do view.logs[#view.logs + 1] = i end
    else
      local args, count = {}, last - first + 1
      for i = first, last do
        local at = i - first + 1
        if i > 2 then
          local since = joined[i - 2]
          args[at] = prefix .. 'group:' .. groups[i - 2]
          args[at + count] = (#since > #floor_text or (#since == #floor_text and since > floor_text)) and since or floor_text
        else
          args[at] = prefix .. address_at(i)
          args[at + count] = i == 1 and floor_text or all_floor < call.position and int(all_floor) or int(call.position)
        end
      end
      local at = 1
      -- They come in the order in which they were asked for.
      for _, each in ipairs(redis.call('XREAD', 'COUNT', 1, 'STREAMS', unpack(args)) or {}) do
        bytes = bytes + #(each[2][1][2][4] or '')
        while args[at] ~= each[1] do at = at + 1 end
        view.logs[#view.logs + 1] = first + at - 1
      end
    end
    first = last + 1
  end
  return view
end

-- As enter_inbox, for counts. Returns the call, the view or nil (then it is made when the cursors stand, by down.news), and the inbox.
function down.enter(keys, args, at)
  local call, user, token = open_call(keys), args[1], nil
  if args[at] ~= '' then
    token = { iat = tonumber(args[at]), exp = tonumber(args[at + 1]) }
    if args[at + 2] ~= '-1' then token.claimed = { unpack(args, at + 3, at + 2 + count_at(args, at + 2)) } end
    if is_revoked(call, user, token.iat) then refuse(REVOKED) end
  end
  local inbox, view = read_inbox(call, user), nil
  call.glance = not inbox.has_unread and down.glance(call, user, inbox, token)
  if call.glance then return call, nil, inbox end
  call, view = enter_inbox(keys, args, at)
  return call, view, view.inbox
end
