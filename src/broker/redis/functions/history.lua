-- Reads what a user is owed after a cursor, in pages, oldest first, and whether something is missing.

local merge, shuffle
do
  -- The most entries of a page.
  local MAX_PAGE = 1024
  -- About how many copies of entries in the page are read for it, and about how many bytes of them.
  local MAX_COPIES, COPY_BYTES = 4096, 16777216
  -- With this few logs, several entries of each are read from the beginning.
  local FEW_PIECES = 16

  -- Reads on in a log, up to `limit` entries and not beyond `last`. log.entries has all of (log.from, log.read_to].
  -- Returns false if there is nothing more.
  local function read_on(call, log, last, limit)
    if log.read_to >= last or (log.nothing_above and log.nothing_above <= log.read_to) then return false end
    limit = math.min(limit, log.step)
    -- Our ids end in -0. Others within the same microsecond were not written by us and are skipped.
    local chunk, bytes = read_chunk(call, log, 'XRANGE', int(log.read_to + 1) .. '-0', int(last) .. '-0', limit)
    for _, entry in ipairs(chunk) do log.entries[#log.entries + 1] = entry end
    -- This is the end of the log: nothing is added during the call, even if its position moves.
    if #chunk < limit then log.read_to = last >= call.position and math.huge or last else log.read_to = chunk[#chunk].id end
    log.step = next_step(math.max(limit, log.step / 2), chunk, bytes)
    return #chunk > 0
  end

  -- The index of the first entry after an id in a sorted list.
  local function index_after(entries, id)
    local low, high = 1, #entries + 1
    while low < high do
      local middle = math.floor((low + high) / 2)
      if entries[middle].id > id then high = middle else low = middle + 1 end
    end
    return low
  end

  function shuffle(list)
    for i = #list, 2, -1 do
      local j = math.random(i)
      list[i], list[j] = list[j], list[i]
    end
  end

  -- The oldest entries of many parts of logs, as many as fit a page. Reads in rounds: a few entries of each, then twice
  -- as many. As soon as the page is full, no log is read beyond the newest entry in it. So little is read in vain,
  -- whether there are many logs, large entries, or everything is in one log. A notification to many of the user's
  -- groups is in each log, and these copies do not fill the page. After enough copies the page ends at the lowest id up
  -- to which every log was read. If that happens before each log was looked at, the others are read up to the oldest
  -- entry found, and the page ends there.
  -- Returns the entries by id, the unordered ids, and the id up to which the page is complete.
  function merge(call, pieces, most_bytes)
    local kept, heap, bytes, upto, copies, copied, oldest = {}, {}, 0, call.position, 0, 0, math.huge
    local active, quota, is_first, is_short, is_heap = {}, #pieces <= FEW_PIECES and 4 or 1, true, false, false
    -- Most pages contain everything that is owed, and need no heap.
    local function heap_up()
      if not is_heap then table.sort(heap, function(a, b) return a > b end) end
      is_heap = true
    end
    for n, piece in ipairs(pieces) do
      local log, after = piece.log, piece.after
      if after < log.from or after > log.read_to then log.from, log.read_to, log.entries, log.step = after, after, {}, 8 end
      piece.at = #log.entries == 0 and 1 or index_after(log.entries, after)
      active[n] = piece
    end
    while #active > 0 do
      local more = {}
      for _, piece in ipairs(active) do
        local log, at, left = piece.log, piece.at, quota
        while true do
          is_short = copied > COPY_BYTES
          if is_short and not is_first then more[#more + 1] = piece; break end
          local last = is_short and oldest - 1 or upto
          if piece.upto and piece.upto < last then last = piece.upto end
          local entry = log.entries[at]
          if not entry and read_on(call, log, last, math.max(left, 1)) then entry = log.entries[at] end
          if not entry or entry.id > last then break end
          if left == 0 then more[#more + 1] = piece; break end
          at, left = at + 1, left - 1
          if kept[entry.id] then copies, copied = copies + 1, copied + #entry.data else
            kept[entry.id] = entry
            if entry.id < oldest then oldest = entry.id end
            if is_heap then push(heap, entry.id) else heap[#heap + 1] = entry.id end
            bytes = bytes + #entry.data
            while #heap > 1 and (bytes > most_bytes or #heap > MAX_PAGE) do
              heap_up()
              local greatest = pop(heap)
              bytes = bytes - #kept[greatest].data
              kept[greatest] = nil
              upto = greatest - 1
            end
          end
        end
        piece.at = at
      end
      active, quota = more, math.min(quota * 2, MAX_STEP)
      if is_short or (copies > MAX_COPIES and #more > 0) then
        if is_short and is_first then upto = oldest end
        for _, piece in ipairs(more) do upto = math.min(upto, piece.log.entries[piece.at - 1].id) end
        heap_up()
        while #heap > 0 and heap[1] > upto do kept[pop(heap)] = nil end
        break
      end
      is_first = false
    end
    return kept, heap, upto
  end
end

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
  return has_lost(call, inbox, lost)
end

-- The index of an entry in the reply, from 0. Entries that several users are owed are in it once.
local function shared(call, entry)
  if not entry.place then
    entry.place = #call.shared / 3
    for _, field in ipairs { int(entry.id), entry.event, entry.data } do call.shared[#call.shared + 1] = field end
  end
  return entry.place
end

-- One page: indexes of entries, and the position up to which everything is in it or before it.
local function read_page(call, pieces, marks)
  shuffle(pieces)
  while true do
    local kept, heap, upto = merge(call, pieces, call.page_bytes)
    table.sort(heap)
    local places, last = {}, nil
    for _, id in ipairs(heap) do
      local entry = kept[id]
      if is_shown(call, marks, entry) then places[#places + 1], last = shared(call, entry), id
      -- A dismissed entry is kept, since other users still have it.
      elseif is_over(call, entry) then sweep(call, entry) end
    end
    if upto == call.position then return places, upto end
    if last or call.work > call.most_work then return places, last or upto end
    -- Nothing of it is shown, so the next page is read.
    for _, piece in ipairs(pieces) do piece.after = math.max(piece.after, upto) end
  end
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
  local position, membership, inbox = call.position, membership_of(groups), read_inbox(call, user)
  local gap, places, upto = false, {}, position
  if cursor and cursor > position then gap = true elseif cursor then
    local owed, lost = pieces_of(call, user, groups, cursor)
    call.work = call.work + (#owed + #lost) * LOG_WORK
    gap = has_gap(call, groups, inbox, cursor, owed, lost)
    -- Not known yet: returns an empty page, so that the client's node asks again from the same cursor.
    if gap == nil then upto = cursor else
      -- The user's own log comes first in `owed`. Most users missed nothing in it.
      reading.look_above(call, owed[1].log, math.max(call.since, inbox.read), cursor)
      places, upto = read_page(call, owed, inbox.marks)
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
  local fields = redis.call('HMGET', call.prefix .. ':config', 'kept_since', 'old_until', 'evicts', 'has_evicted', 'doubt')
  if fields[3] == '1' then look_for_evictions(call, call.position) end
  call.has_evicted = fields[4]
  call.page_bytes, call.most_work = tonumber(page_bytes), tonumber(most_work)
  call.kept_since, call.old_until = math.max(tonumber(fields[1] or 0) or 0, tonumber(fields[5] or 0) or 0), tonumber(fields[2] or 0) or 0
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
