-- The inbox of a user: what the logs of their addresses hold, less what they dismissed, with two cursors and marks.
--
-- <prefix>:inbox:<user> has the fields seen and read, and one for each marked id: "r", "u" or "d" (read, unread,
-- dismissed), a space (or "+" if other addresses have it too), and the address that it came by. The field "old" has the
-- dismissed ids below the cursor as one text, so that many of them cost nothing when only newer ones count.

-- Makes old dismissed ids visible as marks, unpacking them only when one is looked up.
function reading.see_old(inbox, list)
  local known
  inbox.old = list
  setmetatable(inbox.marks, { __index = function(_, id)
    if id > inbox.read then return nil end
    if not known then
      known = {}
      for _, old in ipairs(reading.old_of(inbox)) do known[old] = 'd' end
    end
    return known[id]
  end })
end

-- Returns the list of old dismissed ids, oldest first. Anything but a list was not written by us.
function reading.old_of(inbox)
  if type(inbox.old) == 'string' then
    local ok, list = pcall(cmsgpack.unpack, inbox.old)
    inbox.old = ok and type(list) == 'table' and list or {}
  end
  return inbox.old or {}
end

reading.NO_INBOX = { seen = 0, read = 0, marks = NO_ENTRIES, addresses = NO_ENTRIES, shared = NO_ENTRIES, count = 0 }
-- `may_share`: nothing is written to it, so that all users without a record may have the same.
local function read_inbox(ctx, user, may_share)
  local key = ctx.prefix .. ':inbox:' .. user
  local flat = redis.call('HGETALL', key)
  if may_share and #flat == 0 then return reading.NO_INBOX end
  local inbox = { key = key, seen = 0, read = 0, marks = {}, addresses = {}, shared = {}, count = 0 }
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if name == 'seen' or name == 'read' then inbox[name] = tonumber(value) elseif name == 'old' then reading.see_old(inbox, value) else
      local id = tonumber(name)
      inbox.marks[id], inbox.addresses[id] = value:sub(1, 1), value:sub(3)
      if value:sub(2, 2) == '+' then inbox.shared[id] = true end
      if inbox.marks[id] == 'u' then inbox.has_unread = true end
      inbox.count = inbox.count + 1
    end
  end
  return inbox
end

-- `<` collates by the locale of Redis. In some (C, C.UTF-8) that is by bytes, and faster than comparing them here.
reading.by_bytes = 'B' < 'a' and 'Z' < '_' and '_' < 'a' and 'a b' < 'a-a' and 'a-a' < 'aB' and 'z' < '\195\169' and '\195\169' < '\240\159\152\128'

-- Sorts names by their bytes, whatever the locale is.
function reading.sort(names)
  if reading.by_bytes then return table.sort(names) end
  table.sort(names, function(a, b)
    for i = 1, math.min(#a, #b) do
      local x, y = a:byte(i), b:byte(i)
      if x ~= y then return x < y end
    end
    return #a < #b
  end)
end

-- The logs of an inbox, in the order in which one is chosen if a notification came by several. `floor`: ids up to it
-- are not listed; `known`: ids up to it count as seen and read.
local function view_of(call, user, groups, inbox)
  local view = { user = user, groups = groups, inbox = inbox, logs = {}, by_address = {} }
  local function add(address, floor, known)
    local source = { place = #view.logs, log = open_log(call, address), floor = math.max(floor, call.since), known = known }
    view.logs[#view.logs + 1], view.by_address[address] = source, source
  end
  add('user:' .. user, 0, 0)
  local names = {}
  for group, mark in pairs(groups.marks) do
    if mark.joined then names[#names + 1] = group end
  end
  reading.sort(names)
  for _, name in ipairs(names) do add('group:' .. name, groups.marks[name].at, 0) end
  -- What was published to `all` before the user's first visit counts as seen and read.
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

-- The i-th newest entry of a log above a floor, or nil. Entries are read once for all requests of the call.
local function newest(call, log, i, floor, most_wanted)
  while true do
    local entry = log.newest[i]
    if entry then return entry.id > floor and entry or nil end
    if not log.down then log.down, log.newest = reading.start(call.position), {} end
    local chunk = reading.read(call, log, log.down, floor, nil, most_wanted)
    if not chunk then return nil end
    local list = log.newest
    local had = #list
    for j = 1, #chunk do list[had + j] = chunk[j] end
  end
end

-- The same for one user alone, who has marked many entries of the log.
function reading.own_newest(call, view, source, floor)
  local own, inbox, log = source.own, view.inbox, source.log
  if not own then
    local noted = reading.noted(call, log)
    own = { down = reading.start(source.upper), stops = {}, known = setmetatable({}, { __index = noted.known }), chunk = {}, at = 1 }
    source.own = own
    for id, mark in pairs(inbox.marks) do
      if mark ~= 'u' and (inbox.shared[id] or inbox.addresses[id] == log.address) then own.stops[#own.stops + 1], own.known[id] = id, false end
    end
    for _, id in ipairs(noted.stops) do
      if own.known[id] ~= false then own.stops[#own.stops + 1] = id end
    end
    table.sort(own.stops, function(a, b) return a > b end)
  end
  if not own.chunk[own.at] then own.chunk, own.at = reading.read(call, log, own.down, floor, own) or {}, 1 end
  local entry = own.chunk[own.at]
  own.at = own.at + 1
  return entry and entry.id > floor and entry or nil
end

-- The log by which a notification is listed, and its entry.
local function source_of(call, view, id)
  for _, source in ipairs(view.logs) do
    if id > source.floor then
      local chunk = read_chunk(call, source.log, 'XRANGE', int(id) .. '-0', int(id) .. '-0', 1)
      if chunk[1] and is_listed(call, view, chunk[1]) then return source, chunk[1] end
    end
  end
end

-- A count looks at this many entries at most, where LOOK_BYTES bytes of data count as one more. There may be more
-- entries that do not count, or that went to a thousand groups of one user, but Redis must stay free for others. Then
-- the real count is at least as high as the answer.
reading.MOST_LOOKED_AT, reading.LOOK_BYTES, reading.LOOK_WORK = 4096, 16384, 16

-- Whether a marked notification may be looked for in all logs: its mark says that other addresses have it too, or is an
-- older one that names none. Nil: too many were looked at already.
function reading.may_search(call, view, id)
  local inbox = view.inbox
  if not inbox.shared[id] and inbox.addresses[id] ~= '' then return false end
  view.searched = (view.searched or 0) + #view.logs
  if view.searched > reading.MOST_LOOKED_AT then return nil end
  call.work = call.work + #view.logs * reading.LOOK_WORK
  return true
end

-- Whether a marked notification is still listed. Most are where their mark says that they came by. Nil: not known.
function reading.stands(call, view, id)
  local inbox = view.inbox
  local source = view.by_address[inbox.addresses[id]]
  if source and source_of(call, { inbox = inbox, logs = { source } }, id) then return true end
  local may = reading.may_search(call, view, id)
  return may and source_of(call, view, id) ~= nil
end

local function drop_marks(inbox, ids)
  for i, id in ipairs(ids) do
    inbox.marks[id], inbox.addresses[id], inbox.shared[id], ids[i] = nil, nil, nil, int(id)
    inbox.count = inbox.count - 1
  end
  if #ids > 0 then redis.call('HDEL', inbox.key, unpack(ids)) end
end

-- Returns seen, read, and how many entries are listed above each cursor and not marked as read, up to MAX_UNREAD.
local function count_inbox(call, view)
  local inbox, counted, unseen, unread, marks, position = view.inbox, {}, 0, 0, view.inbox.marks, call.position
  if view.open then
    unseen, unread = reading.counts_of(call, view)
    if unseen and unread then return inbox.seen, inbox.read, math.min(unseen, MAX_UNREAD), math.min(unread, MAX_UNREAD) end
    unseen, unread = 0, 0
  end
  local looked = 0
  for place, source in ipairs(view.logs) do
    if looked > reading.MOST_LOOKED_AT or (unread >= MAX_UNREAD and unseen >= MAX_UNREAD) then break end
    if view.open then source = view.open(source) elseif place == 2 then reading.probe(call, view, 2, inbox.read) end
    local log, i, waste, floor = source.log, 1, 0, math.max(source.floor, source.known, inbox.read)
    source.own = nil
    while not (log.nothing_above and log.nothing_above <= floor) do
      local above, entry = floor, nil
      if unread >= MAX_UNREAD then
        if unseen >= MAX_UNREAD then break end
        above = math.max(floor, inbox.seen)
      end
      if waste > reading.WASTE_BYTES then entry = reading.own_newest(call, view, source, above)
      else entry = log.newest[i] or newest(call, log, i, above, MAX_UNREAD - math.min(unread, unseen)) end
      if not entry or entry.id <= above or looked > reading.MOST_LOOKED_AT then break end
      i, looked = i + 1, looked + 1 + #entry.data / reading.LOOK_BYTES
      local id = entry.id
      local mark = marks[id]
      if mark == 'r' or mark == 'd' then
        waste = waste + reading.waste_of(entry)
        source.upper = id - 1
      elseif entry.event ~= '' and not entry.r and not (entry.x and entry.x <= position) and not counted[id] then
        counted[id] = true
        unread = unread + 1
        if id > inbox.seen then unseen = unseen + 1 end
      end
    end
  end
  call.work = call.work + looked * reading.LOOK_WORK
  local gone = {}
  for id, mark in pairs(inbox.marks) do
    if unread >= MAX_UNREAD then break end
    if mark == 'u' and not counted[id] then
      -- A notification that is not listed now never will be: it has left the logs, or its group was left, and a rejoin
      -- starts anew.
      local stands = reading.stands(call, view, id)
      if stands then unread = unread + 1 elseif stands == false then gone[#gone + 1] = id end
    end
  end
  drop_marks(inbox, gone)
  return inbox.seen, inbox.read, math.min(unseen, MAX_UNREAD), math.min(unread, MAX_UNREAD)
end

-- ARGV from `at`: the token's iat and exp, how many groups it claims or -1, group… An iat of '' is a back end without a
-- token. Returns the call, the view, and the index of the next argument.
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
  local call, view = reading.enter(keys, args, 2)
  return counts_reply(call, view or reading.news(call), { int(call.position) })
end
