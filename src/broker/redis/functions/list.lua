-- The list of an inbox, page by page, newest first.

-- What a list may look at, more or less; beyond it the page is short, and says where to go on.
local LIST_WORK = 2097152

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
