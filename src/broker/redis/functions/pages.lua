-- Reads a page of what a user is owed, oldest first.

local read_page
do
  -- The most entries of a page.
  local MAX_PAGE = 1024
  -- About how many copies of entries in the page are read for it, and about how many bytes of them.
  local MAX_COPIES, COPY_BYTES = 4096, 16777216
  -- With this few logs, several entries of each are read from the beginning.
  local FEW_PIECES = 16

  -- The index of an entry in the reply, from 0. Entries that several users are owed are in it once.
  local function shared(call, entry)
    if not entry.place then
      entry.place = #call.shared / 3
      for _, field in ipairs { int(entry.id), entry.event, entry.data } do call.shared[#call.shared + 1] = field end
    end
    return entry.place
  end

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

  local function shuffle(list)
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
  local function merge(call, pieces, most_bytes)
    local kept, heap, bytes, upto, copies, copied, oldest = {}, {}, 0, call.position, 0, 0, math.huge
    local active, quota, is_first, is_short, is_heap = {}, #pieces <= FEW_PIECES and 4 or 1, true, false, false
    -- Most pages contain everything that is owed, and need no heap.
    local function heap_up()
      if not is_heap then table.sort(heap, function(a, b) return a > b end) end
      is_heap = true
    end
    for n, piece in ipairs(pieces) do
      local log, after = piece.log, piece.after
      if after < log.from or after > log.read_to then log.from, log.read_to, log.entries, log.step, log.pages = after, after, {}, 8, nil end
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

  -- The same for a user without marks who is owed only what one log has, and that log was read to its end for another
  -- user: most who come back at once are in the same groups and missed the same. Returns indexes of entries, or nil if
  -- it takes a merge.
  local function same_page(call, pieces)
    local only
    for _, piece in ipairs(pieces) do
      local log, after = piece.log, piece.after
      local is_read = log.read_to == math.huge and log.from <= after
      local newest = is_read and log.entries[#log.entries]
      local has_nothing = is_read and (not newest or newest.id <= after) or log.nothing_above and log.nothing_above <= after
      if not has_nothing then
        if only or piece.upto or not is_read then return nil end
        only = piece
      end
    end
    if not only then return NO_ENTRIES end
    local entries, pages, bytes = only.log.entries, only.log.pages or {}, 0
    local at = index_after(entries, only.after)
    only.log.pages = pages
    if pages[at] == nil then
      local places = #entries - at < MAX_PAGE and {}
      for i = at, places and #entries or 0 do
        local entry = entries[i]
        bytes = bytes + #entry.data
        if bytes > call.page_bytes or is_over(call, entry) then places = false; break end
        places[#places + 1] = shared(call, entry)
      end
      pages[at] = places
    end
    return pages[at] or nil
  end

  -- One page: indexes of entries, and the position up to which everything is in it or before it.
  function read_page(call, pieces, inbox)
    local marks, places = inbox.marks, inbox.count == 0 and not inbox.old and same_page(call, pieces)
    if places then return places, call.position end
    shuffle(pieces)
    while true do
      local kept, heap, upto = merge(call, pieces, call.page_bytes)
      table.sort(heap)
      local last
      places = {}
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
end
