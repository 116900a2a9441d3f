-- Reads logs for all requests of a call: each part once, in growing steps, with a limit on the work.

-- The work of an entry beside its data, and of looking at a log, in units of about one byte read.
local ENTRY_WORK = 64
local LOG_WORK = 256
-- The most entries that one XRANGE asks for, and about how many bytes it should return.
local MAX_STEP = 128
local STEP_BYTES = 65536
-- No entry of ours is larger, whatever MAX_DATA_BYTES was when it was written. A stream would be cut off for a larger
-- one.
local MOST_ENTRY_BYTES = 1048576

-- Starts a call whose requests share one position and what was read of each log.
local function open_call(keys)
  local call = open(keys)
  call.logs, call.shared, call.work, call.waste, call.counts = {}, {}, 0, 0, true
  call.position = next_id(call)
  -- No id is below 0. The clock of a machine may begin in 1970 when it is switched on.
  call.since = math.max(0, call.position - call.limits.seconds * SECOND)
  call.most_bytes = math.max(call.limits.max_bytes, MOST_ENTRY_BYTES)
  return call
end

-- All calls of all prefixes share it, so nothing may ever be added to it.
local NO_ENTRIES = {}
local function new_log(call, address)
  call.work = call.work + LOG_WORK
  return { address = address, key = call.prefix .. ':log:' .. address, entries = {}, from = -1, read_to = -1, step = 8, newest = NO_ENTRIES }
end

local function open_log(call, address)
  local log = call.logs[address]
  if not log then
    log = new_log(call, address)
    call.logs[address] = log
  end
  return log
end

local function next_step(step, chunk, bytes)
  local fits = #chunk > 0 and math.max(1, math.floor(STEP_BYTES / (bytes / #chunk + 1))) or MAX_STEP
  return math.max(1, math.min(step * 2, MAX_STEP, fits))
end

local function read_chunk(call, log, name, first, last, limit)
  local chunk, bytes, most, most_bytes = redis.call(name, log.key, first, last, 'COUNT', limit), 0, 0, call.most_bytes
  for i = 1, #chunk do
    local entry = read_entry(chunk[i], most_bytes, log)
    local size = #entry.data
    chunk[i], bytes = entry, bytes + size
    if size > most then most = size end
  end
  call.work = call.work + bytes + #chunk * ENTRY_WORK
  return chunk, bytes, most
end

-- A binary heap of ids with the greatest on top.
local function push(heap, id)
  local i = #heap + 1
  while i > 1 do
    local parent = math.floor(i / 2)
    if heap[parent] >= id then break end
    heap[i] = heap[parent]
    i = parent
  end
  heap[i] = id
end

local function pop(heap)
  local top, last = heap[1], table.remove(heap)
  local size, i = #heap, 1
  if size == 0 then return top end
  while true do
    local child = 2 * i
    if child > size then break end
    if child < size and heap[child + 1] > heap[child] then child = child + 1 end
    if heap[child] <= last then break end
    heap[i] = heap[child]
    i = child
  end
  heap[i] = last
  return top
end

-- Reads the ids of the newest trimmed entries of several logs at once.
local function read_trims(call, pieces)
  local keys, logs = {}, {}
  for _, piece in ipairs(pieces) do
    if not piece.log.trimmed then
      piece.log.trimmed = 0
      keys[#keys + 1] = call.prefix .. ':trim:' .. piece.log.address
      logs[#logs + 1] = piece.log
    end
  end
  -- Mostly the user's own log alone was not looked at.
  if #keys == 1 then logs[1].trimmed = tonumber(redis.call('GET', keys[1]) or 0) or 0; return end
  for from = 1, #keys, 1000 do
    local found = redis.call('MGET', unpack(keys, from, math.min(from + 999, #keys)))
    for i, text in ipairs(found) do logs[from + i - 1].trimmed = text and tonumber(text) or 0 end
  end
end

-- Older libraries trimmed without a record. Their logs only tell that something was trimmed; any of it may have been
-- after the cursor.
local function was_trimmed_by_old(call, log, after)
  if log.old_trim == nil then
    log.old_trim = 0
    local info = redis.pcall('XINFO', 'STREAM', log.key)
    if not info.err then
      local fields = {}
      for i = 1, #info, 2 do fields[info[i]] = info[i + 1] end
      local first = fields['first-entry']
      if fields['entries-added'] > fields['length'] then
        log.old_trim = first and tonumber(first[1]:match('^%d+')) - 1 or tonumber(fields['last-generated-id']:match('^%d+'))
      end
    end
  end
  return after < log.old_trim
end

local function is_over(call, entry) return entry.x and entry.x <= call.position end

-- Functions for reading an inbox. They share one table, because a library may have at most 200 locals.
local reading = {}

-- This many bytes may be read of entries that do not count. After that, known ones are skipped. Small entries are read
-- as fast as they are skipped.
reading.WASTE_BYTES = 32768
reading.SMALL_BYTES = 1024
function reading.waste_of(entry) return #entry.data > reading.SMALL_BYTES and #entry.data or 0 end

-- The notes of a log (entries.lua), newest first. `skips`: ids that need not be read; `stops`: these and the ids of
-- `known`, which count without being read. If entries disappeared without their notes (evicted, or removed by hand),
-- notes that count are not trusted.
function reading.noted(call, log)
  if log.noted then return log.noted end
  local skips, stops, known, count = {}, {}, {}, 0
  call.born_at = call.born_at or tonumber(redis.call('GET', call.prefix .. ':born') or nil) or math.huge
  for _, member in ipairs(redis.call('ZRANGE', call.prefix .. ':keys:' .. log.address, 0, -1, 'REV')) do
    local kind, id, ends = member:match('^([\1\2])(%d+):(%d+)$')
    id, ends = tonumber(id or nil), tonumber(ends or nil)
    if kind == '\1' and ends <= call.position then
      skips[#skips + 1], stops[#stops + 1], known[id] = id, id, nil
    elseif kind == '\2' and id >= call.born_at and (ends == 0 or ends > call.position) then
      stops[#stops + 1], count = id, count + 1
      known[id] = true
    end
  end
  log.noted = { skips = skips, stops = stops, known = known }
  if count > redis.call('XLEN', log.key) then log.noted = { skips = skips, stops = skips, known = NO_ENTRIES } end
  return log.noted
end

-- A reader's place (upper) and the number of entries that it reads next (step).
function reading.start(upper) return { upper = upper, step = 4 } end

-- The next entries above a floor, newest first, or nil. `own`: skips what this user need not read, instead of what
-- nobody need. `most_wanted`: entries. A list needs the data of its entries; for counting, notes are enough.
function reading.read(call, log, at, floor, own, most_wanted)
  local skips, known = NO_ENTRIES, NO_ENTRIES
  if own then skips, known = own.stops, own.known elseif call.waste > reading.WASTE_BYTES then
    local noted = reading.noted(call, log)
    skips = noted.skips
    if call.counts then skips, known = noted.stops, noted.known end
  end
  if at.skips ~= skips then at.skips, at.skip_at = skips, 1 end
  while at.upper > floor do
    while skips[at.skip_at] and skips[at.skip_at] > at.upper do at.skip_at = at.skip_at + 1 end
    local upper, step, stop = at.upper, math.min(at.step, most_wanted or MAX_STEP), math.max(floor, skips[at.skip_at] or 0)
    if upper > stop then
      local chunk, bytes, most = read_chunk(call, log, 'XREVRANGE', int(upper) .. '-0', int(stop + 1) .. '-0', step)
      at.upper = #chunk == step and chunk[#chunk].id - 1 or stop
      if #chunk > 0 then
        at.step = next_step(step, chunk, bytes)
        for _, entry in ipairs(most > reading.SMALL_BYTES and chunk or NO_ENTRIES) do
          if #entry.data >= LARGE_BYTES or entry.r or entry.x and is_over(call, entry) then call.waste = call.waste + reading.waste_of(entry) end
        end
        return chunk
      end
    else
      at.upper = stop - 1
      if known[stop] then return { { id = stop, event = 'message', data = '', log = log, is_noted = true } } end
    end
  end
end

-- Finds out for many logs at once which have nothing above a floor, and records that in log.nothing_above. Few logs
-- have something.
reading.PROBED_AT_ONCE = 32
function reading.probe(call, view, from, read)
  local args, asked, bytes = {}, {}, 0
  for i = from, #view.logs do
    local source = view.logs[i]
    local floor, log = math.max(source.floor, source.known, read), source.log
    if floor < call.position and not log.down and not (log.nothing_above and log.nothing_above <= floor) then
      asked[#asked + 1], args[#args + 1] = log, log.key
      log.asked_from = floor
    end
    if #asked == reading.PROBED_AT_ONCE or (i == #view.logs and #asked > 1) then
      for j = 1, #asked do args[#args + 1] = int(asked[j].asked_from) end
      local found = redis.call('XREAD', 'COUNT', 1, 'STREAMS', unpack(args))
      for j = 1, #asked do asked[j].nothing_above = asked[j].asked_from end
      for _, each in ipairs(found or {}) do
        bytes = bytes + #(each[2][1][2][4] or '')
        call.logs[each[1]:sub(#call.prefix + 6)].nothing_above = nil
      end
      if bytes > reading.WASTE_BYTES then return end
      args, asked = {}, {}
    end
  end
end

local function is_shown(call, marks, entry)
  return not is_over(call, entry) and marks[entry.id] ~= 'd'
end

