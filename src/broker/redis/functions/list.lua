-- The list of an inbox in pages, newest first.

-- About how many bytes a list may read. Past that, or past the number of entries that a count looks at, the page is
-- short or even empty, and says where the next one starts.
local LIST_WORK = 2097152

-- The next entry of a log before an id and above a floor, or nil. Shares what the counts have read.
function reading.peek(call, source, before, floor)
  local log, entry = source.log, nil
  if before > call.position then
    local had = #log.newest
    entry = newest(call, log, source.looked + 1, floor)
    source.is_new = source.is_new or #log.newest > had
    return entry
  end
  entry = source.chunk[source.at]
  if not entry then
    source.chunk, source.at, source.is_new = reading.read(call, log, source.down, floor) or {}, 1, true
    entry = source.chunk[1]
  end
  return entry and entry.id > floor and entry or nil
end

-- The newest entries of an inbox before an id, up to `limit`. Reads in rounds: a few entries of each log, then twice as
-- many. No log is read below the oldest entry that still fits the page. If too much was read before each log was looked
-- at, the remaining logs are read only down to the newest entry found, and the page ends there.
local function newest_of(call, view, before, limit, unread_only)
  local kept, heap, bytes, downto, is_cut, is_short = {}, {}, 0, 0, false, false
  local stop_at, top, is_tight, looks = call.work + LIST_WORK, 0, false, 0
  local active, quota = view.logs, #view.logs <= 4 and limit or 4
  -- Without "unread" marks, nothing up to the cursor is unread.
  local is_above = unread_only and not view.inbox.has_unread
  for _, source in ipairs(active) do
    source.looked, source.at, source.chunk, source.down = 0, 1, {}, reading.start(before - 1)
    source.lowest = is_above and math.max(source.floor, source.known, view.inbox.read) or source.floor
  end
  while #active > 0 do
    local more = {}
    for _, source in ipairs(active) do
      local left = quota
      while true do
        -- The rest is left to the next round, which wants fewer entries.
        if left == 0 then more[#more + 1] = source; break end
        local is_unknown = source.looked == 0 and #view.logs > 4 and call.work > stop_at
        is_tight = is_tight or is_unknown
        local entry = reading.peek(call, source, before, math.max(source.lowest, downto, is_unknown and top or 0))
        if not entry then break end
        if entry.id > top then top = entry.id end
        if source.is_new and source.looked > 0 and (call.work > stop_at or looks >= reading.MOST_LOOKED_AT) then
          -- Too much was read: everything below comes with the next page.
          downto, is_short = entry.id, true
          for id in pairs(kept) do
            if id <= downto then kept[id], is_cut = nil, true end
          end
          heap = {}
          bytes = 0
          for id, each in pairs(kept) do
            push(heap, -id)
            bytes = bytes + #each.data
          end
          break
        end
        source.looked, source.at, source.is_new, left, looks = source.looked + 1, source.at + 1, false, left - 1, looks + 1
        local known = kept[entry.id]
        -- It came by several logs; the first of them counts.
        if known and source.place < known.source.place then known.source = source end
        if not known and is_listed(call, view, entry) and not (unread_only and not is_unread(view, source, entry.id)) then
          kept[entry.id], entry.source = entry, source
          push(heap, -entry.id)
          bytes = bytes + #entry.data
          while #heap > limit or (#heap > 1 and bytes > LIST_WORK) do
            local least = -pop(heap)
            bytes = bytes - #kept[least].data
            kept[least], downto, is_cut = nil, least, true
          end
        end
      end
    end
    active, quota = more, math.min(quota * 2, MAX_STEP)
    if is_tight then
      active, downto, is_short = {}, math.max(downto, top - 1), true
      for id in pairs(kept) do
        if id <= downto then kept[id] = nil end
      end
    end
  end
  local ids = {}
  for id in pairs(kept) do ids[#ids + 1] = id end
  table.sort(ids, function(a, b) return a > b end)
  return kept, ids, is_short and downto + 1 or (is_cut and ids[#ids]) or nil
end

-- ARGV: user, before or '', limit, 1 for unread ones only, token.
-- Reply: [position, seen, read, unseen, unread, next or '', 1 if nothing was trimmed, [id, event, data, address, key or
-- '', 1 if read], …]
local function list(keys, args)
  local limit, before = tonumber(args[3]) or 0, tonumber(args[2]) or math.huge
  if not (limit >= 1 and limit % 1 == 0 and before == before) then refuse('TIDINGS_BAD_REQUEST Argument 3 must be how many, from 1') end
  local call, view = enter_inbox(keys, args, 5)
  call.counts = false
  local kept, ids, next_before = newest_of(call, view, before, limit, args[4] == '1')
  call.counts = true
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
