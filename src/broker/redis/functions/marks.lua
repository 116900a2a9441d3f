-- Changes to an inbox by its user: moving the cursors, and marking single notifications.

-- Saves the cursors, sends `read` to the user's streams, and returns the counts.
local function save_inbox(call, view, changed)
  local inbox, numbers = view.inbox, { count_inbox(call, view) }
  redis.call('HSET', inbox.key, 'seen', int(inbox.seen), 'read', int(inbox.read))
  redis.call('EXPIREAT', inbox.key, end_of(call.position, call.limits.seconds))
  local more = changed and ',"changed":[' .. changed .. ']' or ''
  local json = ('{"seen":"%.0f","read":"%.0f","unseen":%d,"unread":%d%s}'):format(numbers[1], numbers[2], numbers[3], numbers[4], more)
  tell_event(call, 'user:' .. view.user, 'read', call.position, json)
  for i, number in ipairs(numbers) do numbers[i] = int(number) end
  return numbers
end

-- ARGV: user, 'seen' or 'read', up to which position, token.   Reply: [seen, read, unseen, unread]
local function move_cursor(keys, args)
  local call, view, inbox = reading.enter(keys, args, 4)
  local upto = tonumber(args[3])
  if not upto or upto > call.position then
    refuse('TIDINGS_FUTURE_POSITION This position lies in the future; use an id or a position that this service gave out')
  end
  local was_seen, was_read = inbox.seen, inbox.read
  inbox.seen = math.max(inbox.seen, upto)
  if args[2] == 'read' then inbox.read = math.max(inbox.read, upto) end
  if inbox.seen == was_seen and inbox.read == was_read then return counts_reply(call, view or reading.news(call), {}) end
  if inbox.read > was_read and inbox.count > 0 then
    local passed = {}
    for id, mark in pairs(inbox.marks) do
      if mark ~= 'd' and id <= inbox.read then passed[#passed + 1] = id end
    end
    drop_marks(inbox, passed)
  end
  return save_inbox(call, view or reading.news(call))
end

local compact
do
  -- When there are too many marks, up to this many whose notification has left are removed at once.
  local COMPACT_AT_ONCE = 32

  -- How many dismissed ids below the read cursor are kept in addition.
  local MAX_OLD = 10000

  -- The id of the oldest entry that the user may still see.
  local function oldest_of(call, view)
    local addresses, oldest = { 'user:' .. view.user, 'all' }, math.huge
    for group in pairs(view.groups.marks) do addresses[#addresses + 1] = 'group:' .. group end
    for _, address in ipairs(addresses) do
      local first = redis.call('XRANGE', call.prefix .. ':log:' .. address, '-', '+', 'COUNT', 1)[1]
      if first then oldest = math.min(oldest, tonumber(first[1]:match('^%d+'))) end
    end
    return oldest
  end

  -- Moves dismissed ids below the read cursor to the field "old".
  local function put_aside(call, view)
    local inbox, passed = view.inbox, {}
    for id, mark in pairs(inbox.marks) do
      if mark == 'd' and id <= inbox.read then passed[#passed + 1] = id end
    end
    if #passed == 0 then return end
    table.sort(passed)
    local list = reading.old_of(inbox)
    if #list + #passed > MAX_OLD then
      local oldest, left = math.max(call.since, oldest_of(call, view) - 1), {}
      for _, id in ipairs(list) do
        if id > oldest then left[#left + 1] = id end
      end
      list = left
    end
    local moved = { unpack(passed, 1, math.min(#passed, MAX_OLD - #list)) }
    for _, id in ipairs(moved) do list[#list + 1] = id end
    redis.call('HSET', inbox.key, 'old', cmsgpack.pack(list))
    drop_marks(inbox, moved)
    reading.see_old(inbox, list)
  end

  -- Whether a log has the notification. One that has expired will not be listed again, though it may still be there.
  local function has_entry(call, address, id)
    local raw = redis.call('XRANGE', call.prefix .. ':log:' .. address, int(id) .. '-0', int(id) .. '-0')[1]
    return raw ~= nil and not is_over(call, read_entry(raw, 0))
  end

  -- Makes room by removing marks whose notification has left or expired. Marks of a left group stay while the group's
  -- log has the notification, since the user may come back.
  function compact(call, view)
    local inbox, ids, gone = view.inbox, {}, {}
    put_aside(call, view)
    if inbox.count < MAX_MARKS then return end
    for id in pairs(inbox.marks) do ids[#ids + 1] = id end
    for i = 1, #ids do
      -- A call can search for a few only, so each begins elsewhere.
      local id = ids[(call.position + i) % #ids + 1]
      if id <= call.since then gone[#gone + 1] = id elseif #gone < COMPACT_AT_ONCE then
        local address = inbox.addresses[id]
        if not (address ~= '' and has_entry(call, address, id)) then
          local may = reading.may_search(call, view, id)
          local stands = may == nil
          for _, source in ipairs(may and view.logs or {}) do stands = stands or has_entry(call, source.log.address, id) end
          if not stands then gone[#gone + 1] = id end
        end
      end
    end
    drop_marks(inbox, gone)
  end
end

local MARKS = { read = 'r', unread = 'u', dismissed = 'd' }

-- ARGV: user, id, 'read', 'unread' or 'dismissed', token.   Reply: [seen, read, unseen, unread]
local function set_inbox_mark(keys, args)
  local call, view = enter_inbox(keys, args, 4)
  local inbox, id, mark = view.inbox, tonumber(args[2]), MARKS[args[3]]
  local was = inbox.marks[id]
  if mark == 'd' and was == 'd' then return counts_reply(call, view, {}) end
  local source, entry
  if id <= call.position then source, entry = source_of(call, view, id) end
  if not source then
    refuse('TIDINGS_NO_NOTIFICATION There is no such notification in this inbox; it may have been taken back, or have left the history')
  end
  if mark ~= 'd' and is_unread(view, source, id) == (mark == 'u') then return counts_reply(call, view, {}) end
  local by = (entry.m and '+' or ' ') .. source.log.address
  if was then drop_marks(inbox, { id }) end
  -- The cursor alone may say it already.
  if mark == 'd' or is_unread(view, source, id) ~= (mark == 'u') then
    if inbox.count >= MAX_MARKS then compact(call, view) end
    if inbox.count >= MAX_MARKS then
      if was then redis.call('HSET', inbox.key, int(id), was .. by) end
      refuse('TIDINGS_TOO_MANY_MARKS A user may have at most ' .. MAX_MARKS .. ' notifications marked one by one; move the read cursor past some of them')
    end
    inbox.marks[id], inbox.addresses[id], inbox.shared[id], inbox.count = mark, source.log.address, entry.m and true or nil, inbox.count + 1
    redis.call('HSET', inbox.key, int(id), mark .. by)
  end
  local change = mark == 'd' and '"dismissed":true' or '"isRead":' .. (mark == 'r' and 'true' or 'false')
  return save_inbox(call, view, '{"id":"' .. int(id) .. '",' .. change .. '}')
end
