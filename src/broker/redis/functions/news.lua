-- Fast counts for one user. Most logs have nothing above the read cursor, and one XREAD over many logs shows which do.
-- Only these are opened. Tokens that change something, and users with "unread" marks, go through `enter_inbox` instead.

-- Reads a user's groups with the ids of the joins; nil if the token changes something.
function reading.glance(call, user, inbox, token)
  local flat = redis.call('HGETALL', call.prefix .. ':groups:' .. user)
  local groups, joined, count, known, has_left, stays = {}, {}, 0, nil, false, false
  local match, byte, cut, claims = string.match, string.byte, string.sub, token and token.claimed and {}
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if name == '' then known = read_user(value) else
      if byte(value) == 43 then
        -- Ids have 16 digits. Cutting them out takes a third of the time of a pattern.
        local at, by = cut(value, 2, 17), cut(value, 18)
        if #by > 1 or #at < 16 then at, by = match(value, '^%+(%d+)(%a?)') end
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

-- How many entries of each log the first XREAD reads. Few logs have more, and only these are read again.
reading.FIRSTS = 2

-- The same as view_of, for the logs that have something above `read` or above another id.
function reading.news(call, above)
  local glance = call.glance
  local user, inbox = glance.user, glance.inbox
  local view = { user = user, inbox = inbox, logs = {}, firsts = {} }
  local prefix, floor = call.prefix .. ':log:', math.max(above or inbox.read, call.since)
  local floor_text, groups, joined, group_prefix = int(floor), glance.groups, glance.joined, prefix .. 'group:'
  local total = #groups + 2
  local first, bytes = 1, 0
  -- Log 1 is the user's own, log 2 that of `all`.
  local all_floor = math.max(floor, glance.first or math.huge)
  local function address_at(i) return i == 1 and 'user:' .. user or i == 2 and 'all' or 'group:' .. groups[i - 2] end
  -- Logs are opened when they are reached, since a count may end before.
  function view.open(i)
    local from = i == 1 and floor or i == 2 and all_floor or math.max(floor, tonumber(joined[i - 2]))
    return { log = open_log(call, address_at(i)), floor = from, known = 0 }
  end
  while first <= total do
    local last = math.min(first + reading.PROBED_AT_ONCE - 1, total)
    if bytes > reading.WASTE_BYTES then
      view.firsts = nil
      for i = first, last do view.logs[#view.logs + 1] = i end
    else
      local args, count = {}, last - first + 1
      for i = first, last do
        local at = i - first + 1
        if i > 2 then
          local since = joined[i - 2]
          args[at] = group_prefix .. groups[i - 2]
          args[at + count] = (#since > #floor_text or (#since == #floor_text and since > floor_text)) and since or floor_text
        else
          args[at] = prefix .. address_at(i)
          args[at + count] = i == 1 and floor_text or all_floor < call.position and int(all_floor) or int(call.position)
        end
      end
      local at = 1
      -- Replies come in the order of the request.
      for _, each in ipairs(redis.call('XREAD', 'COUNT', reading.FIRSTS, 'STREAMS', unpack(args)) or {}) do
        bytes = bytes + #(each[2][1][2][4] or '')
        while args[at] ~= each[1] do at = at + 1 end
        view.logs[#view.logs + 1] = first + at - 1
        if view.firsts then view.firsts[#view.logs] = each end
      end
    end
    first = last + 1
  end
  return view
end

do
  -- The most entries and bytes that the fast way reads. Users with more entries that do not count take the slow way.
  local TALLY_ENTRIES, TALLY_BYTES = 256, 131072
  -- The most entries that one XREAD returns.
  local AT_ONCE = 64

  -- Counts what `news` found and what follows it, oldest first, with one XREAD for many logs. No log is opened, and
  -- plain entries are not parsed. Returns how many count, how many of these are above `seen`, and whether these are
  -- all; or nil if it would take too long.
  local function tally(call, view)
    local firsts, marks, seen, position, most_bytes = view.firsts, view.inbox.marks, view.inbox.seen, call.position, call.most_bytes
    if not firsts then return nil end
    local counted, unread, unseen, looked, bytes, active, args = {}, 0, 0, 0, 0, {}, {}
    -- Counts a list of entries. Returns the id after which the log must be read on.
    local function look(list)
      for i = 1, #list do
        local raw = list[i]
        local text, fields = raw[1], raw[2]
        local id, data = tonumber(text:sub(1, -3)), fields[4] or ''
        bytes = bytes + #data
        -- Entries that are not ours, or from the future, are handled by the slow way.
        if not id or id > position or text:sub(-2) ~= '-0' then return nil end
        if not counted[id] and marks[id] == nil then
          local counts = #fields == 4 and fields[1] == 'e' and fields[3] == 'd' and fields[2] ~= '' and #data <= most_bytes
          if not counts then
            local entry = read_entry(raw, most_bytes)
            counts = entry.event ~= '' and not entry.r and not is_over(call, entry)
          end
          if counts then
            counted[id], unread = true, unread + 1
            if id > seen then unseen = unseen + 1 end
          end
        end
      end
      looked = looked + #list
      return list[#list][1]
    end
    for i = 1, #firsts do
      local last = look(firsts[i][2])
      if not last then return nil end
      if #firsts[i][2] == reading.FIRSTS then active[#active + 1] = { firsts[i][1], last } end
    end
    -- If the others are as large as these, it would be too much.
    if looked > 0 and bytes / looked * MAX_UNREAD > TALLY_BYTES then return nil end
    while #active > 0 and unread < MAX_UNREAD do
      local more, step = {}, math.min(16, math.ceil((MAX_UNREAD - unread) / #active))
      local batch = math.floor(AT_ONCE / step)
      for from = 1, #active, batch do
        local count = math.min(batch, #active - from + 1)
        for i = 1, count do args[i], args[i + count] = active[from + i - 1][1], active[from + i - 1][2] end
        for _, each in ipairs(redis.call('XREAD', 'COUNT', step, 'STREAMS', unpack(args, 1, 2 * count)) or {}) do
          local last = look(each[2])
          if not last then return nil end
          if #each[2] == step then more[#more + 1] = { each[1], last } end
        end
        if unread >= MAX_UNREAD then break end
        if looked > TALLY_ENTRIES or bytes > TALLY_BYTES then return nil end
      end
      active = more
    end
    return unread, unseen, unread < MAX_UNREAD
  end

  -- Returns unseen and unread, or nil if the slow way must count them.
  local MANY_LOGS = 8
  function reading.counts_of(call, view)
    if #view.logs == 0 then return 0, 0 end
    local seen, is_apart = view.inbox.seen, view.inbox.seen > view.inbox.read
    if is_apart and view.firsts and #view.firsts >= MANY_LOGS then
      -- If there are MAX_UNREAD above `seen`, both counts are known.
      local unseen = tally(call, reading.news(call, seen))
      if not unseen or unseen >= MAX_UNREAD then return unseen, unseen end
      return unseen, (tally(call, view))
    end
    local unread, unseen, is_all = tally(call, view)
    if unread and is_apart and not is_all then unseen = tally(call, reading.news(call, seen)) end
    return unseen, unread
  end
end

-- The same as enter_inbox, for counts. Returns the call, the view, and the inbox. The view is nil if `reading.news`
-- shall make it once the cursors are known.
function reading.enter(keys, args, at)
  local call, user, token = open_call(keys), args[1], nil
  if args[at] ~= '' then
    token = { iat = tonumber(args[at]), exp = tonumber(args[at + 1]) }
    if args[at + 2] ~= '-1' then token.claimed = { unpack(args, at + 3, at + 2 + count_at(args, at + 2)) } end
    if is_revoked(call, user, token.iat) then refuse(REVOKED) end
  end
  local inbox, view = read_inbox(call, user), nil
  call.glance = not inbox.has_unread and reading.glance(call, user, inbox, token)
  if call.glance then return call, nil, inbox end
  call, view = enter_inbox(keys, args, at)
  return call, view, view.inbox
end
