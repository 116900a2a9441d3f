-- The inbox of a user: what the logs hold for them, less what they dismissed, with two cursors and marks.
--
-- <prefix>:inbox:<user>: the fields seen and read, and for each marked id: "r", "u" or "d" (read, unread, dismissed), a space, and the address
-- that it came by.

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
