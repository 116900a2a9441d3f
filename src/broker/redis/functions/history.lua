-- Reads what a user is owed after a cursor, and whether something is missing.

local function add_spans(call, pieces, address, spans, cursor)
  if spans == '' then return end
  -- A log object of its own, not the shared one: these parts are read beside one another.
  for from, to in spans:gmatch('(%d+):(%d+)') do
    if tonumber(to) > cursor then pieces[#pieces + 1] = { log = new_log(call, address), after = math.max(cursor, tonumber(from)), upto = tonumber(to) } end
  end
end

-- The parts (after, upto] of logs that a user is owed after a cursor, and those of groups that the user has left.
local function pieces_of(call, user, groups, cursor)
  local owed, lost = { { log = open_log(call, 'user:' .. user), after = cursor }, { log = open_log(call, 'all'), after = cursor } }, {}
  for group, mark in pairs(groups.marks) do
    if mark.joined then
      local log = open_log(call, 'group:' .. group)
      owed[#owed + 1] = { log = log, after = math.max(cursor, mark.at) }
      add_spans(call, owed, log.address, mark.spans, cursor)
    elseif mark.at > cursor and mark.spans ~= '' then
      add_spans(call, lost, 'group:' .. group, mark.spans, cursor)
    end
  end
  return owed, lost
end

local function has_gap(call, groups, inbox, cursor, owed, lost)
  if cursor < call.born or cursor < call.kept_since or cursor < call.since or cursor < groups.user.forgotten then return true end
  -- An earlier Redis process gave this cursor, and the data of this one is older (a backup, say).
  if cursor > call.run_clock and cursor < call.run_first then return true end
  -- The cursor is older than the first visit: the user's record was evicted, and their groups were joined anew.
  if call.has_evicted and cursor < (groups.user.first or 0) then return true end
  read_trims(call, owed)
  read_trims(call, lost)
  for _, pieces in ipairs { owed, lost } do
    for _, piece in ipairs(pieces) do
      if piece.after < piece.log.trimmed then return true end
      if cursor < call.old_until and was_trimmed_by_old(call, piece.log, piece.after) then return true end
    end
  end
  return has_lost(call, inbox, owed, lost)
end

local function is_ended(ctx, user, token)
  local revoked, logout = is_revoked(ctx, user, token.iat)
  return revoked or (logout and token.admitted and token.admitted < logout)
end

-- cursor: nil is fresh. Returns [position, gap, more, membership, indexes of entries, seen, read, unseen, unread].
local function resume_one(call, user, token, cursor)
  if is_ended(call, user, token) then refuse(REVOKED) end
  local groups = read_groups(call, user)
  see_token(call, user, groups, token)
  if call.last > call.position then call.position = next_id(call) end
  local position, membership, inbox = call.position, membership_of(groups), read_inbox(call, user, true)
  local gap, places, upto = false, {}, position
  if cursor and cursor > position then gap = true elseif cursor then
    local owed, lost = pieces_of(call, user, groups, cursor)
    call.work = call.work + (#owed + #lost) * LOG_WORK
    gap = has_gap(call, groups, inbox, cursor, owed, lost)
    -- Not known yet: returns an empty page, so that the client's node asks again from the same cursor.
    if gap == nil then upto = cursor else
      -- The user's own log comes first in `owed`. Most users missed nothing in it.
      reading.look_above(call, owed[1].log, math.max(call.since, inbox.read), cursor)
      places, upto = read_page(call, owed, inbox)
    end
  end
  local more = upto < position
  local seen, read, unseen, unread = 0, 0, 0, 0
  if gap or not more then
    seen, read, unseen, unread = reading.plain_counts(call, user, groups, inbox)
    if not seen then seen, read, unseen, unread = count_inbox(call, view_of(call, user, groups, inbox)) end
  end
  return { int(upto), gap and 1 or 0, more and 1 or 0, membership, places, int(seen), int(read), unseen, unread }
end

local function open_history(keys, page_bytes, most_work)
  local call = open_call(keys)
  local fields = redis.call('HMGET', call.prefix .. ':config', 'kept_since', 'old_until', 'evicts', 'has_evicted', 'doubt', 'run_clock', 'run_first')
  if fields[3] == '1' then look_for_evictions(call, call.position) end
  call.has_evicted = fields[4]
  call.page_bytes, call.most_work = tonumber(page_bytes), tonumber(most_work)
  call.kept_since, call.old_until = math.max(tonumber(fields[1] or 0) or 0, tonumber(fields[5] or 0) or 0), tonumber(fields[2] or 0) or 0
  call.run_clock, call.run_first = tonumber(fields[6] or 0) or 0, tonumber(fields[7] or 0) or 0
  call.born = tonumber(redis.call('GET', call.prefix .. ':born') or nil)
  if not call.born or call.born > call.position then
    -- Not a number, or from the future: not written by us.
    call.born = call.position
    redis.call('SET', call.prefix .. ':born', int(call.born))
  end
  return call
end

-- ARGV: how many bytes of data a page may have, and how many the call may read; then for each stream: user, the token's
-- iat and exp, the id of the visit, cursor or '' (fresh), how many groups the token claims or -1 (no claim), group…
-- Reply: [[id, event, data, …], for each stream: [position, 1 if something may be missing, 1 if there is more,
-- [group, id of the join, …], [indexes of its entries in the list, oldest first], seen, read, unseen, unread]]. Streams
-- without an answer, because the call had done its share of work, must be asked for again. An event of '' marks an
-- entry that cannot be read.
local function read_pages(keys, args)
  local call = open_history(keys, args[1], args[2])
  local reply, at = { call.shared }, 3
  while args[at] and call.work < call.most_work do
    local token = { iat = tonumber(args[at + 1]), exp = tonumber(args[at + 2]), admitted = tonumber(args[at + 3]) }
    local count = 0
    if args[at + 5] ~= '-1' then
      count = count_at(args, at + 5)
      token.claimed = { unpack(args, at + 6, at + 5 + count) }
    end
    reply[#reply + 1] = alone(resume_one, call, args[at], token, tonumber(args[at + 4]))
    at = at + 6 + count
  end
  return reply
end
