-- Whether something was addressed to a user while they were in a group, and is not theirs to read any more since they
-- left it. What has expired, and what they dismissed, is not missing.

-- Takes an entry out that is over, and notes it.
local function sweep(call, entry)
  if redis.call('XDEL', entry.log.key, int(entry.id) .. '-0') > 0 then bury(call, entry.log.address, entry.id, 'x', entry.x) end
  forget_entry(call, entry.log.address, entry.id)
end

local has_lost
do
  -- So many entries, or bytes as a call may read, are taken out by one call.
  local MOST_SWEPT = 2048

  -- What a user has dismissed, by the one address that has it, oldest first.
  local function dismissed_by_address(inbox)
    local found = {}
    for id, mark in pairs(inbox.marks) do
      if mark == 'd' and not inbox.shared[id] then
        local address = inbox.addresses[id]
        found[address] = found[address] or {}
        table.insert(found[address], id)
      end
    end
    for _, ids in pairs(found) do table.sort(ids) end
    return found
  end

  -- Whether something that is missing stands in a piece, (after, upto]. What was dismissed is passed over unread, and
  -- what has expired is taken out, so that nobody looks at it twice. Nil: there was too much of that for one call, and
  -- it is to be asked again.
  function has_lost(call, inbox, lost)
    local dismissed, swept, work = #lost > 0 and inbox.count > 0 and dismissed_by_address(inbox) or {}, 0, call.work
    for _, piece in ipairs(lost) do
      local after, step, at, stops = piece.after, 1, 1, dismissed[piece.log.address] or {}
      while after < piece.upto do
        while stops[at] and stops[at] <= after do at = at + 1 end
        local stop = stops[at] and stops[at] <= piece.upto and stops[at] or piece.upto + 1
        local chunk, bytes = read_chunk(call, piece.log, 'XRANGE', int(after + 1) .. '-0', int(stop - 1) .. '-0', step)
        for _, entry in ipairs(chunk) do
          if is_shown(call, inbox.marks, entry) then return true end
          if is_over(call, entry) then
            sweep(call, entry)
            swept = swept + 1
          end
        end
        -- So much that was dismissed is not looked through: whoever has dismissed it is told that something may be
        -- missing.
        if swept == 0 and call.work - work > 4 * call.most_work then return true end
        if swept > 0 and (swept > MOST_SWEPT or call.work - work > call.most_work) then return nil end
        if #chunk < step then after = stop else after = chunk[#chunk].id end
        step = next_step(step, chunk, bytes)
      end
    end
    return false
  end
end
