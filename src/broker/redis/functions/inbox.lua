-- The inbox of a user: what the logs hold for them, less what they dismissed, with two cursors and marks.
--
-- <prefix>:inbox:<user>: the fields seen and read, and for each marked id: "r", "u" or "d" (read, unread, dismissed), a space, and the address
-- that it came by.

-- What a list may look at, more or less; beyond it the page is short, and says where to go on.
local LIST_WORK = 2097152
-- Marks whose notification has left are looked for when there are too many, and so many of them let go at once.
local COMPACT_AT_ONCE = 32

local function read_inbox(ctx, user)
  local inbox = { key = ctx.prefix .. ':inbox:' .. user, seen = 0, read = 0, marks = {}, addresses = {}, count = 0 }
  local flat = redis.call('HGETALL', inbox.key)
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if name == 'seen' or name == 'read' then inbox[name] = tonumber(value) else
      local id = tonumber(name)
      inbox.marks[id], inbox.addresses[id] = value:sub(1, 1), value:sub(3)
      inbox.count = inbox.count + 1
    end
  end
  return inbox
end

-- The logs of an inbox, in the order in which a notification is said to have come by them. `floor`: what is not listed up to there; `known`:
-- what is no news up to there.
local function view_of(call, user, groups, inbox)
  local view = { user = user, groups = groups, inbox = inbox, logs = {} }
  local function add(address, floor, known)
    view.logs[#view.logs + 1] = { log = open_log(call, address), floor = math.max(floor, call.since), known = known }
  end
  add('user:' .. user, 0, 0)
  local names = {}
  for group, mark in pairs(groups.marks) do
    if mark.joined then names[#names + 1] = group end
  end
  table.sort(names)
  for _, name in ipairs(names) do add('group:' .. name, groups.marks[name].at, 0) end
  -- What went to all before somebody first came is no news to them.
  add('all', 0, groups.user.first or math.huge)
  call.work = call.work + #view.logs * LOG_WORK
  return view
end

local function is_listed(call, view, entry)
  return entry.event ~= '' and not entry.r and is_shown(call, view.inbox.marks, entry)
end

local function is_unread(view, source, id)
  local mark = view.inbox.marks[id]
  return mark == 'u' or (mark ~= 'r' and id > math.max(view.inbox.read, source.known))
end

-- The newest entries of a log that are above a floor, one by one: the i-th, or nil. They are read once for all who ask in one call.
local function newest(call, log, i, floor)
  while true do
    local entry = log.newest[i]
    if entry then return entry.id > floor and entry or nil end
    if log.newest_to <= floor + 1 then return nil end
    local last = log.newest_to == math.huge and int(call.position) or int(log.newest_to - 1)
    local chunk, bytes = read_chunk(call, log, 'XREVRANGE', last .. '-0', int(floor + 1) .. '-0', log.newest_step)
    for _, each in ipairs(chunk) do log.newest[#log.newest + 1] = each end
    if #chunk < log.newest_step then log.newest_to = floor + 1 else log.newest_to = chunk[#chunk].id end
    log.newest_step = next_step(log.newest_step, chunk, bytes)
  end
end

local function source_of(call, view, id)
  for _, source in ipairs(view.logs) do
    if id > source.floor then
      local chunk = read_chunk(call, source.log, 'XRANGE', int(id) .. '-0', int(id) .. '-0', 1)
      if chunk[1] and is_listed(call, view, chunk[1]) then return source end
    end
  end
end

-- seen, read, and how many are listed above each cursor and not read one by one, up to MAX_UNREAD.
local function count_inbox(call, view)
  local inbox, counted, unseen, unread = view.inbox, {}, 0, 0
  for _, source in ipairs(view.logs) do
    local i, floor = 1, math.max(source.floor, source.known, inbox.read)
    while unread < MAX_UNREAD or unseen < MAX_UNREAD do
      local entry = newest(call, source.log, i, unread < MAX_UNREAD and floor or math.max(floor, inbox.seen))
      if not entry then break end
      i = i + 1
      local id = entry.id
      if not counted[id] and is_listed(call, view, entry) and inbox.marks[id] ~= 'r' then
        counted[id] = true
        unread = unread + 1
        if id > inbox.seen then unseen = unseen + 1 end
      end
    end
  end
  for id, mark in pairs(inbox.marks) do
    if unread >= MAX_UNREAD then break end
    if mark == 'u' and not counted[id] and source_of(call, view, id) then unread = unread + 1 end
  end
  return inbox.seen, inbox.read, math.min(unseen, MAX_UNREAD), math.min(unread, MAX_UNREAD)
end

-- ARGV from `at`: the token's iat and exp, how many groups it claims or -1, group…; iat '' is a back end, which reads without a token.
-- Returns the call, the view, and where the next argument stands.
local function enter_inbox(keys, args, at)
  local call, user = open_call(keys), args[1]
  local groups, count = read_groups(call, user), 0
  if args[at + 2] ~= '-1' then count = count_at(args, at + 2) end
  if args[at] ~= '' then
    local token = { iat = tonumber(args[at]), exp = tonumber(args[at + 1]), at = call.position }
    if args[at + 2] ~= '-1' then token.claimed = { unpack(args, at + 3, at + 2 + count) } end
    if is_revoked(call, user, token.iat) then refuse(REVOKED) end
    see_token(call, user, groups, token)
    if call.last > call.position then call.position = next_id(call) end
  end
  return call, view_of(call, user, groups, read_inbox(call, user)), at + 3 + count
end

local function counts_reply(call, view, reply)
  for _, number in ipairs { count_inbox(call, view) } do reply[#reply + 1] = int(number) end
  return reply
end

-- ARGV: user, token (see enter_inbox).   Reply: [position, seen, read, unseen, unread]
local function position(keys, args)
  local call, view = enter_inbox(keys, args, 2)
  return counts_reply(call, view, { int(call.position) })
end

-- Tells the user's streams what has changed, and answers with it.
local function save_inbox(call, view, changed)
  local inbox, numbers = view.inbox, { count_inbox(call, view) }
  redis.call('HSET', inbox.key, 'seen', int(inbox.seen), 'read', int(inbox.read))
  redis.call('EXPIREAT', inbox.key, end_of(call.position, call.limits.seconds))
  local json = ('{"seen":"%.0f","read":"%.0f","unseen":%d,"unread":%d%s}'):format(numbers[1], numbers[2], numbers[3], numbers[4], changed and ',"changed":[' .. changed .. ']' or '')
  tell_event(call, 'user:' .. view.user, 'read', call.position, json)
  for i, number in ipairs(numbers) do numbers[i] = int(number) end
  return numbers
end

local function drop_marks(inbox, ids)
  for i, id in ipairs(ids) do
    inbox.marks[id], inbox.addresses[id], ids[i] = nil, nil, int(id)
    inbox.count = inbox.count - 1
  end
  if #ids > 0 then redis.call('HDEL', inbox.key, unpack(ids)) end
end

-- ARGV: user, 'seen' or 'read', up to which position, token.   Reply: [seen, read, unseen, unread]
local function move_cursor(keys, args)
  local call, view = enter_inbox(keys, args, 4)
  local inbox, upto = view.inbox, tonumber(args[3])
  if not upto or upto > call.position then
    refuse('TIDINGS_FUTURE_POSITION This position lies in the future; use an id or a position that this service gave out')
  end
  local was_seen, was_read = inbox.seen, inbox.read
  inbox.seen = math.max(inbox.seen, upto)
  if args[2] == 'read' then inbox.read = math.max(inbox.read, upto) end
  if inbox.seen == was_seen and inbox.read == was_read then return counts_reply(call, view, {}) end
  if inbox.read > was_read and inbox.count > 0 then
    local passed = {}
    for id, mark in pairs(inbox.marks) do
      if mark ~= 'd' and id <= inbox.read then passed[#passed + 1] = id end
    end
    drop_marks(inbox, passed)
  end
  return save_inbox(call, view)
end

local function has_entry(call, address, id)
  return #redis.call('XRANGE', call.prefix .. ':log:' .. address, int(id) .. '-0', int(id) .. '-0') > 0
end

-- Lets go of marks whose notification has left. One of a group that was left stays while it stands there: the user may come back.
local function compact(call, view)
  local inbox, gone = view.inbox, {}
  for id in pairs(inbox.marks) do
    if id <= call.since then gone[#gone + 1] = id elseif #gone < COMPACT_AT_ONCE then
      local address, stands = inbox.addresses[id], false
      stands = address ~= '' and has_entry(call, address, id)
      if not stands then
        for _, source in ipairs(view.logs) do stands = stands or has_entry(call, source.log.address, id) end
        if not stands then gone[#gone + 1] = id end
      end
    end
  end
  drop_marks(inbox, gone)
end

local MARKS = { read = 'r', unread = 'u', dismissed = 'd' }

-- ARGV: user, id, 'read', 'unread' or 'dismissed', token.   Reply: [seen, read, unseen, unread]
local function set_inbox_mark(keys, args)
  local call, view = enter_inbox(keys, args, 4)
  local inbox, id, mark = view.inbox, tonumber(args[2]), MARKS[args[3]]
  local was = inbox.marks[id]
  if mark == 'd' and was == 'd' then return counts_reply(call, view, {}) end
  local source = id <= call.position and source_of(call, view, id)
  if not source then
    refuse('TIDINGS_NO_NOTIFICATION There is no such notification in this inbox; it may have been taken back, or have left the history')
  end
  if mark ~= 'd' and is_unread(view, source, id) == (mark == 'u') then return counts_reply(call, view, {}) end
  if was then drop_marks(inbox, { id }) end
  -- Without a mark, the cursor may say it already.
  if mark == 'd' or is_unread(view, source, id) ~= (mark == 'u') then
    if inbox.count >= MAX_MARKS then compact(call, view) end
    if inbox.count >= MAX_MARKS then
      if was then redis.call('HSET', inbox.key, int(id), was .. ' ' .. source.log.address) end
      refuse('TIDINGS_TOO_MANY_MARKS A user may have at most ' .. MAX_MARKS .. ' notifications marked one by one; move the read cursor past some of them')
    end
    inbox.marks[id], inbox.addresses[id], inbox.count = mark, source.log.address, inbox.count + 1
    redis.call('HSET', inbox.key, int(id), mark .. ' ' .. source.log.address)
  end
  local change = mark == 'd' and '"dismissed":true' or '"isRead":' .. (mark == 'r' and 'true' or 'false')
  return save_inbox(call, view, '{"id":"' .. int(id) .. '",' .. change .. '}')
end

-- The newest entries of an inbox before an id, as many as are asked for: as `merge` in history.lua, the other way round.
local function newest_of(call, view, before, limit, unread_only)
  local kept, heap, bytes, downto, is_cut, is_short = {}, {}, 0, 0, false, false
  local stop_at = call.work + LIST_WORK
  for _, source in ipairs(view.logs) do
    local log, upper, step = source.log, math.min(before - 1, call.position), 8
    local is_done = false
    while not is_done do
      local lower = math.max(source.floor, downto) + 1
      if upper < lower then break end
      local chunk, read = read_chunk(call, log, 'XREVRANGE', int(upper) .. '-0', int(lower) .. '-0', step)
      is_done = #chunk < step
      step = next_step(step, chunk, read)
      for _, entry in ipairs(chunk) do
        upper = entry.id - 1
        if entry.id > downto and not kept[entry.id] and is_listed(call, view, entry) and not (unread_only and not is_unread(view, source, entry.id)) then
          entry.source = source
          kept[entry.id] = entry
          push(heap, -entry.id)
          bytes = bytes + #entry.data
          while #heap > limit or (#heap > 1 and bytes > LIST_WORK) do
            local least = -pop(heap)
            bytes = bytes - #kept[least].data
            kept[least], downto, is_cut = nil, least, true
          end
        end
      end
      if not is_done and call.work > stop_at and upper > downto then
        -- Too much was looked at: what is below comes with the next page.
        downto, is_short = upper, true
        for id in pairs(kept) do
          if id <= downto then kept[id], is_cut = nil, true end
        end
        heap = {}
        bytes = 0
        for id, entry in pairs(kept) do
          push(heap, -id)
          bytes = bytes + #entry.data
        end
        break
      end
    end
  end
  local ids = {}
  for id in pairs(kept) do ids[#ids + 1] = id end
  table.sort(ids, function(a, b) return a > b end)
  return kept, ids, is_short and downto + 1 or (is_cut and ids[#ids]) or nil
end

-- ARGV: user, before or '', limit, 1 for the unread alone, token.
-- Reply: [position, seen, read, unseen, unread, next or '', 1 if nothing was trimmed, [id, event, data, address, key or '', 1 if read], …]
local function list(keys, args)
  local call, view = enter_inbox(keys, args, 5)
  local kept, ids, next_before = newest_of(call, view, tonumber(args[2]) or math.huge, tonumber(args[3]), args[4] == '1')
  local reply = counts_reply(call, view, { int(call.position) })
  reply[6] = next_before and int(next_before) or ''
  local complete = 1
  read_trims(call, view.logs)
  local old_until = tonumber(redis.call('HGET', call.prefix .. ':config', 'old_until') or 0) or 0
  for _, source in ipairs(view.logs) do
    if source.floor < source.log.trimmed then complete = 0
    elseif source.floor < old_until and was_trimmed_by_old(call, source.log, source.floor) then complete = 0 end
  end
  reply[7] = complete
  for _, id in ipairs(ids) do
    local entry = kept[id]
    reply[#reply + 1] = { int(id), entry.event, entry.data, entry.source.log.address, entry.k or '', is_unread(view, entry.source, id) and 0 or 1 }
  end
  return reply
end
