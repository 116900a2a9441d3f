-- Whether a user missed something in a group that they have left since, which they may not read any more. What has
-- expired or was dismissed is not missing, nor what also came by another address.

-- Removing an entry takes several times as long as reading one, so it counts as work.
local SWEEP_WORK = 512

-- Removes an expired entry and remembers it as gone.
local function sweep(call, entry)
  call.work = call.work + SWEEP_WORK
  if redis.call('XDEL', entry.log.key, int(entry.id) .. '-0') > 0 then bury(call, entry.log.address, entry.id, 'x', entry.x) end
  forget_entry(call, entry.log.address, entry.id)
  others.remember_key(call, entry.log.address, entry.k, tonumber(entry.o) or entry.id)
end

local has_lost
do
  -- One call removes at most this many entries.
  local MOST_SWEPT = 2048

  -- Dismissed ids by address, oldest first, for notifications that came by one address only.
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

  -- Whether the user gets an entry by another address too. Whoever is in hundreds of groups and left one with much in
  -- it may be told that something is missing, since looking for all of it in all logs would stop Redis.
  local MOST_LOOKUPS = 1024
  local function is_owed(call, owed, entry)
    if not entry.m then return false end
    for _, piece in ipairs(owed) do
      if owed.looked_up >= MOST_LOOKUPS then return false end
      if entry.id > piece.after and entry.id <= (piece.upto or entry.id) then
        owed.looked_up, call.work = owed.looked_up + 1, call.work + LOG_WORK
        if #redis.call('XRANGE', piece.log.key, int(entry.id) .. '-0', int(entry.id) .. '-0') > 0 then return true end
      end
    end
    return false
  end

  -- Whether a part (after, upto] of a log has something that the user missed. Dismissed entries are skipped without
  -- reading. Expired entries are removed, so that nobody reads them twice. Nil: there were too many of these for one
  -- call, so it must be asked again.
  function has_lost(call, inbox, owed, lost)
    owed.looked_up = 0
    local dismissed, swept, work = #lost > 0 and inbox.count > 0 and dismissed_by_address(inbox) or {}, 0, call.work
    for _, piece in ipairs(lost) do
      local after, step, at, stops = piece.after, 1, 1, dismissed[piece.log.address] or {}
      while after < piece.upto do
        while stops[at] and stops[at] <= after do at = at + 1 end
        local stop = stops[at] and stops[at] <= piece.upto and stops[at] or piece.upto + 1
        local chunk, bytes = read_chunk(call, piece.log, 'XRANGE', int(after + 1) .. '-0', int(stop - 1) .. '-0', step)
        for _, entry in ipairs(chunk) do
          if is_shown(call, inbox.marks, entry) and not is_owed(call, owed, entry) then return true end
          if is_over(call, entry) then
            sweep(call, entry)
            swept = swept + 1
          end
        end
        -- Too much was dismissed to look through all of it, so the user is told that something may be missing.
        if swept == 0 and call.work - work > 4 * call.most_work then return true end
        if swept > 0 and (swept > MOST_SWEPT or call.work - work > call.most_work) then return nil end
        if #chunk < step then after = stop else after = chunk[#chunk].id end
        step = next_step(step, chunk, bytes)
      end
    end
    return false
  end
end
