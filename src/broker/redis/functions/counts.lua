-- Counts for many users who come back at once: what they share is counted once.

-- Takes the first step of a count, if that also tells whether a log has anything above the cursor.
function reading.look_above(call, log, floor, cursor)
  -- After that much waste, entries are skipped that do not count but are to be replayed.
  if floor > cursor or log.down or call.waste > reading.WASTE_BYTES then return end
  -- Many users have no log, and this costs less than to read it.
  local entry = redis.call('EXISTS', log.key) == 1 and newest(call, log, 1, floor)
  log.nothing_above = entry and entry.id or floor
end

do
  -- Logs of this few groups are looked at one by one, this many entries of each. With more groups, one XREAD shows
  -- which have anything.
  local FEW_GROUPS, FEW_ENTRIES = 4, 512

  -- How many entries of a log count above an id, up to MAX_UNREAD. `log.sums[i]`: how many of the newest i entries
  -- count. `lowest`: the lowest floor that a user of this call may have in this log. Nil if the count depends on the
  -- user or the moment: some entries expire, or are in other logs too.
  local function count_above(call, log, floor, lowest)
    if floor >= call.position or (log.nothing_above and log.nothing_above <= floor) then return 0 end
    log.sums = log.sums or {}
    local sums = log.sums
    local known = #sums
    while (sums[known] or 0) < MAX_UNREAD and not (known > 0 and log.newest[known].id <= floor) do
      local entry = log.newest[known + 1]
      if not entry and not (log.down and log.down.upper <= lowest) then entry = newest(call, log, known + 1, lowest, MAX_UNREAD - (sums[known] or 0)) end
      if not entry then break end
      if entry.x or entry.m or entry.is_noted or known == FEW_ENTRIES then
        if entry.id <= floor then break end
        return nil
      end
      sums[known + 1] = (sums[known] or 0) + (entry.event ~= '' and not entry.r and 1 or 0)
      known = known + 1
    end
    local low, high = 0, known
    while low < high do
      local middle = math.ceil((low + high) / 2)
      if log.newest[middle].id > floor then low = middle else high = middle - 1 end
    end
    return sums[low] or 0
  end

  -- The same as count_inbox, for a user without marks. Nil: count_inbox must do it.
  function reading.plain_counts(call, user, groups, inbox)
    if groups.joined > FEW_GROUPS or inbox.old or next(inbox.marks) then return nil end
    local unread, unseen, seen, bottom = 0, 0, inbox.seen, math.max(call.since, inbox.read)
    local function add(address, since, is_own)
      local log, floor = open_log(call, address), math.max(since, bottom)
      -- Logs that users share are read without regard to this user's floor, else others would read the rest one by one.
      local lowest = is_own and floor or call.since
      local above = count_above(call, log, floor, lowest)
      if not above then return false end
      unread, unseen = unread + above, unseen + (seen > floor and count_above(call, log, seen, lowest) or above)
      return true
    end
    if not add('user:' .. user, 0, true) or not add('all', groups.user.first or math.huge) then return nil end
    for group, mark in pairs(groups.marks) do
      if mark.joined and not add('group:' .. group, mark.at) then return nil end
    end
    call.work = call.work + (2 + groups.joined) * LOG_WORK
    return seen, inbox.read, math.min(unseen, MAX_UNREAD), math.min(unread, MAX_UNREAD)
  end
end
