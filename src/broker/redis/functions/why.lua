-- "Why did a user get a notification, or not?": nodes' records, and all that is known of one id for one user.

local record, why, stands, keeps_none

-- A block, because a library may have at most 200 locals.
do
  -- The length of a user's list, and the most batches of receipts (each of at most 256 receipts, 4 KB).
  local MAX_TRAIL = 64
  local MAX_BATCHES = 16384
  -- Receipts are written within seconds of their notification. Later ones are not looked for.
  local RECEIPT_WINDOW = 15 * SECOND
  local BATCHES_AT_ONCE = 64
  -- A node without receipts says so every 10 s, and an older node, which knows none, calls `old_setup` each second.
  -- What it wrote may be asked about before it says so again.
  local NONE_FOR = 15 * SECOND

  function keeps_none(ctx, id)
    local config = ctx.prefix .. ':config'
    local known = tonumber(redis.call('HGET', config, 'unnoted') or 0) or 0
    redis.call('HSET', config, 'unnoted', int(math.max(known, id + NONE_FOR)))
  end

  -- ARGV: node; the id up to which it has written everything, or '' ('none': it keeps no receipts); how many batches of
  -- receipts; for each: its first id, text (";<id - first> <ms since its id> <streams>" for each receipt); then user,
  -- line, user, line…
  function record(keys, args)
    local ctx, node = open(keys), args[1]
    local id = next_id(ctx)
    local ends, count = end_of(id, ctx.limits.seconds), tonumber(args[3]) or 0
    if args[2] == 'none' then keeps_none(ctx, id)
    elseif args[2] ~= '' then
      local key = ctx.prefix .. ':written'
      redis.call('ZADD', key, 'GT', args[2], node)
      redis.call('ZREMRANGEBYSCORE', key, '-inf', int(id - ctx.limits.seconds * SECOND))
      redis.call('EXPIREAT', key, ends)
    end
    local receipts = ctx.prefix .. ':receipts'
    for i = 1, count do
      redis.call('XADD', receipts, 'MAXLEN', '~', MAX_BATCHES, int(i == 1 and id or next_id(ctx)) .. '-0',
        'n', node, 'b', args[2 + 2 * i], 'r', args[3 + 2 * i])
    end
    if count > 0 then redis.call('EXPIREAT', receipts, ends) end
    for at = 4 + 2 * count, #args - 1, 2 do
      -- Kept apart, so that many reads do not push out what is known of the user's streams.
      local key = ctx.prefix .. (args[at + 1]:sub(1, 5) == 'read ' and ':reads:' or ':trail:') .. args[at]
      if redis.call('LPUSH', key, args[at + 1]) > MAX_TRAIL then redis.call('LTRIM', key, 0, MAX_TRAIL - 1) end
      redis.call('EXPIREAT', key, ends)
    end
    return 1
  end

  -- [node, ms since the id, streams, …]
  local function receipts_of(ctx, id)
    local found, from, last = {}, int(id) .. '-0', int(id + RECEIPT_WINDOW) .. '-0'
    while true do
      local batches = redis.call('XRANGE', ctx.prefix .. ':receipts', from, last, 'COUNT', BATCHES_AT_ONCE)
      for _, batch in ipairs(batches) do
        local fields = batch[2]
        local late, streams = fields[6]:match(';' .. int(id - tonumber(fields[4])):gsub('-', '%%-') .. ' (%-?%d+) (%d+)')
        if late then for _, value in ipairs { fields[2], late, streams } do found[#found + 1] = value end end
      end
      if #batches < BATCHES_AT_ONCE then return found end
      from = '(' .. batches[#batches][1]
    end
  end

  local function covers(memberships, id)
    for from, to in memberships:gmatch('(%d+):(%d*)') do
      if id > tonumber(from) and (to == '' or id <= tonumber(to)) then return true end
    end
    return false
  end

  local function memberships_of(mark)
    return (mark.joined and int(mark.at) .. ':' or '') .. mark.spans
  end

  -- What is known of an id at an address, or nil: [address, state, id of removal, x or '', r or '', memberships]
  local function place_of(ctx, address, id, memberships)
    local raw = redis.call('XRANGE', ctx.prefix .. ':log:' .. address, int(id) .. '-0', int(id) .. '-0')[1]
    if raw then
      local entry = read_entry(raw, math.huge)
      return { address, '', '0', entry.x and int(entry.x) or '', entry.r and '1' or '', memberships }
    end
    local gone = ctx.prefix .. ':gone:' .. address
    local scores = redis.call('ZMSCORE', gone, 'r' .. int(id), 'p' .. int(id), 'x' .. int(id))
    for i, state in ipairs { 'r', 'p', 'x' } do
      if scores[i] then return { address, state, int(tonumber(scores[i])), '', '', memberships } end
    end
  end

  -- Whether more entries were removed after an id than are remembered.
  local function is_forgetful(ctx, address, id)
    local gone = ctx.prefix .. ':gone:' .. address
    return redis.call('ZCARD', gone) >= MAX_GONE and tonumber(redis.call('ZRANGE', gone, 0, 0, 'WITHSCORES')[2]) > id
  end

  -- ARGV: user, id
  -- Reply: [its id in this partition, position, the id up to which nothing is kept, [places, see place_of], [address,
  -- up to where it was trimmed, …], 1 if it may be forgotten, seen, read, mark or '', [line about streams, …], [line
  -- about reads, …], [node, ms since the id, streams, …], [node, id up to which it has written everything, …], [address
  -- and memberships of each group in which the user was not then, …] (with several partitions, since this one may have
  -- no copy), 1 if then or later a node kept no receipts]
  function why(keys, args)
    local ctx, user, id = open(keys), args[1], tonumber(args[2])
    local position = math.max(ctx.now, tonumber(redis.call('GET', ctx.prefix .. ':clock') or nil) or 0)
    if id > position then
      refuse('TIDINGS_FUTURE_POSITION This position lies in the future; use an id or a position that this service gave out')
    end
    local born = tonumber(redis.call('GET', ctx.prefix .. ':born') or nil) or 0
    local config = redis.call('HMGET', ctx.prefix .. ':config', 'kept_since', 'old_until', 'unnoted')
    local kept_since = tonumber(config[1] or 0) or 0
    -- A node without receipts, or an older one, may have written it, or given it to a stream that came later.
    local unnoted = math.max(tonumber(config[2] or 0) or 0, tonumber(config[3] or 0) or 0)
    local places, trimmed, forgetful, absent = {}, {}, false, {}
    -- With several partitions, a copy may have another id than the publisher was answered.
    local has_copies = others.known(ctx)
    -- Its id here: the same at each of its addresses, except where it was gone before it came.
    local own = id
    local function look(address, memberships)
      local here = has_copies and others.id_of(ctx, address, id) or id
      if here ~= id then own = here end
      local place = place_of(ctx, address, here, memberships)
      if place then places[#places + 1] = place return end
      if not covers(memberships, here) then
        if has_copies then
          absent[#absent + 1] = address
          absent[#absent + 1] = memberships
        end
        return
      end
      local trim = tonumber(redis.call('GET', ctx.prefix .. ':trim:' .. address) or nil) or 0
      if trim >= here then
        trimmed[#trimmed + 1] = address
        trimmed[#trimmed + 1] = int(trim)
      end
      forgetful = forgetful or is_forgetful(ctx, address, here)
    end
    look('user:' .. user, '0:')
    look('all', '0:')
    for group, mark in pairs(read_groups(ctx, user).marks) do
      local memberships = memberships_of(mark)
      if memberships ~= '' then look('group:' .. group, memberships) end
    end
    local inbox = read_inbox(ctx, user)
    return {
      int(own), int(position), int(math.max(born - 1, kept_since, position - ctx.limits.seconds * SECOND)), places, trimmed, forgetful and 1 or 0,
      int(inbox.seen), int(inbox.read), inbox.marks[own] or '',
      redis.call('LRANGE', ctx.prefix .. ':trail:' .. user, 0, -1), redis.call('LRANGE', ctx.prefix .. ':reads:' .. user, 0, -1),
      receipts_of(ctx, own), redis.call('ZRANGE', ctx.prefix .. ':written', 0, -1, 'WITHSCORES'), absent,
      own <= unnoted and 1 or 0
    }
  end

  -- What the home of groups knows of an id, for a user of another partition.
  -- ARGV: id, then address, memberships, …
  -- Reply: [place, see place_of]
  function stands(keys, args)
    local ctx, id, places = open(keys), tonumber(args[1]), {}
    for at = 2, #args - 1, 2 do
      places[#places + 1] = place_of(ctx, args[at], others.known(ctx) and others.id_of(ctx, args[at], id) or id, args[at + 1])
    end
    return places
  end
end
