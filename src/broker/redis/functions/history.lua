-- What a user's logs hold after a cursor, oldest first, in pages, and whether something is missing there.

local merge, shuffle
do
  -- Entries that a page may have.
  local MAX_PAGE = 1024
  -- Copies of what is in the page already that are read for it, more or less, and their bytes.
  local MAX_COPIES, COPY_BYTES = 4096, 16777216
  -- So few logs are read a few entries at a time from the beginning.
  local FEW_PIECES = 16

  -- What was read of a log stands in log.entries: all of (log.from, log.read_to]. Reads on, so many at most, and not
  -- beyond `last`. False: there is nothing more.
  local function read_on(call, log, last, limit)
    if log.read_to >= last then return false end
    limit = math.min(limit, log.step)
    -- Our ids end in -0. What another hand wrote with more behind it is passed over, not met again.
    local chunk, bytes = read_chunk(call, log, 'XRANGE', int(log.read_to + 1) .. '-0', int(last) .. '-0', limit)
    for _, entry in ipairs(chunk) do log.entries[#log.entries + 1] = entry end
    -- At the end of the log: nothing comes to it while the call lasts, however its position moves.
    if #chunk < limit then log.read_to = last >= call.position and math.huge or last else log.read_to = chunk[#chunk].id end
    log.step = next_step(math.max(limit, log.step / 2), chunk, bytes)
    return #chunk > 0
  end

  -- The index of the first entry after an id, of a list that is sorted.
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

  -- The oldest entries of many pieces of logs, as many as a page may hold. It goes round: a few of each, then twice as
  -- many. And the window in which it reads shrinks: as soon as the page is full, no log is read beyond the newest entry
  -- in it. So little is read that is not wanted, whether the logs are many, their entries large, or all of them in one
  -- log. What went to many of them at once stands in each, and fills no page: when enough copies were read, it ends
  -- where the least that was read does. If that is so before each log was looked at, the others are read up to the
  -- oldest entry that there is, and the page ends with it.
  -- Returns the entries by id, the ids in no order, and up to where all is there.
  function merge(call, pieces, most_bytes)
    local kept, heap, bytes, upto, copies, copied, oldest = {}, {}, 0, call.position, 0, 0, math.huge
    local active, quota, is_first, is_short, is_heap = {}, #pieces <= FEW_PIECES and 4 or 1, true, false, false
    -- Most pages hold all that there is, and need no heap.
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
  -- Not the log that all share: these parts of it are read beside one another.
  for from, to in spans:gmatch('(%d+):(%d+)') do
    if tonumber(to) > cursor then pieces[#pieces + 1] = { log = new_log(call, address), after = math.max(cursor, tonumber(from)), upto = tonumber(to) } end
  end
end

-- What a user is owed after a cursor, and what they would be, had they not left: pieces of logs, (after, upto].
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
  -- Who was somewhere before they first came: what was known of them was evicted, and their groups are joined anew.
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

-- Where an entry stands in the reply, counted from 0: what many are owed stands there once.
local function shared(call, entry)
  if not entry.place then
    entry.place = #call.shared / 3
    for _, field in ipairs { int(entry.id), entry.event, entry.data } do call.shared[#call.shared + 1] = field end
  end
  return entry.place
end

-- One page: places of entries, and the position up to which all is in it or before it.
local function read_page(call, pieces, marks)
  shuffle(pieces)
  while true do
    local kept, heap, upto = merge(call, pieces, call.page_bytes)
    table.sort(heap)
    local places, last = {}, nil
    for _, id in ipairs(heap) do
      local entry = kept[id]
      if is_shown(call, marks, entry) then places[#places + 1], last = shared(call, entry), id
      -- What one of them dismissed is still the others'.
      elseif is_over(call, entry) then sweep(call, entry) end
    end
    if upto == call.position then return places, upto end
    if last or call.work > call.most_work then return places, last or upto end
    -- Nothing of it is shown: on to the next.
    for _, piece in ipairs(pieces) do piece.after = math.max(piece.after, upto) end
  end
end

local function is_ended(ctx, user, token)
  local revoked, logout = is_revoked(ctx, user, token.iat)
  return revoked or (logout and token.admitted and token.admitted < logout)
end

-- cursor: nil is fresh. Returns [position, gap, more, membership, places, seen, read, unseen, unread].
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
    -- Not known yet: a page with nothing in it, to be read on from where it began.
    if gap == nil then upto = cursor else places, upto = read_page(call, owed, inbox.marks) end
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
    -- No number, or of the future: not written by us.
    call.born = call.position
    redis.call('SET', call.prefix .. ':born', int(call.born))
  end
  return call
end

-- ARGV: bytes of data that a page may have, and that the call may read; then for each who resumes: user, the token's
-- iat and exp, the id of the visit, cursor or '' (fresh), how many groups the token claims or -1 (it claims nothing),
-- group…
-- Reply: [[id, event, data, …], for each: [position, 1 if something may be missing, 1 if there is more, [group, id at
-- which it was joined, …], [places of its entries in the list, oldest first], seen, read, unseen, unread]]. Those who
-- are left when the call has done its work are to be asked for again. An event of '' is an entry that nobody can read.
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
