-- Where there are several partitions: in which of them a group has members. It stands in the group's home, the
-- partition of its name.
--
--   <prefix>:members:<group>  hash, partition -> second until which it has members (the last of them)
--   <prefix>:joined           hash, in the members' partition: group -> how many users of it the routes joined (with
--                             the last of them). Nodes renew what the homes know of those before it ends; nobody has to
--                             take it away
-- In <prefix>:config: `partitions`, the tags of all in order, and `partition`, the own one ('' while they are divided,
-- and `none` where one was that is none any more, and at REDIS_PREFIX itself); `directory` is there while nothing that
-- stood in the directory was lost. Where something may have been, whatever is published to a group goes to all
-- partitions.

do
  -- The tags of all partitions, and the own one; nil where there is one partition alone.
  function others.known(ctx)
    local known = ctx.limits
    if known.tags == nil then
      local fields = redis.call('HMGET', ctx.prefix .. ':config', 'partitions', 'partition', 'directory')
      known.tags = false
      -- No REDIS_PREFIX has a colon: this is one of several, or nobody reads what is published there.
      if not fields[1] and ctx.prefix:find(':{') then
        known.tags = nil
        if not ctx.prefix:find(':{%d+}$') then
          refuse('TIDINGS_OTHER_PARTITION ' .. ctx.prefix .. ' is no prefix of a partition: "'
            .. ctx.prefix:match('^(.-):{') .. ':partitions" says which there are')
        end
        -- It has lost what it knew of the others: a node tells it within the second.
        refuse('TIDINGS_NOT_READY This partition was emptied; call again when a node has set it up, which takes a second')
      end
      if fields[1] then
        known.tags, known.own, known.is_whole = {}, fields[2], fields[3]
        for tag in fields[1]:gmatch('%S+') do known.tags[#known.tags + 1] = tag end
      end
    end
    return known.tags and known or nil
  end

  -- CRC-16 of XMODEM, modulo 16384, of what stands between the first braces if anything does: as CLUSTER KEYSLOT.
  local function slot_of(name)
    name = name:match('^[^{]*{([^}]+)}') or name
    local crc = 0
    for i = 1, #name do
      crc = bit.bxor(crc, bit.lshift(name:byte(i), 8))
      for _ = 1, 8 do
        crc = bit.band(bit.lshift(crc, 1), 0xffff) == bit.lshift(crc, 1) and bit.lshift(crc, 1) or bit.bxor(bit.band(bit.lshift(crc, 1), 0xffff), 0x1021)
      end
    end
    return crc % 16384
  end

  -- Why something must be published in another partition; nil if its home is here.
  function others.fault(ctx, address)
    local known = others.known(ctx)
    if not known then return nil end
    local tag = known.tags[math.floor(slot_of(address:match('^%a+:(.*)$') or address) * #known.tags / 16384) + 1]
    if tag == known.own then return nil end
    if known.own == '' then
      return 'TIDINGS_NOT_READY The partitions are being divided; call again when that is done, at the home that "<prefix>:partitions" says then'
    end
    local name = ctx.prefix:gsub(':{%d+}$', '') .. ':{' .. tag .. '}'
    return 'TIDINGS_OTHER_PARTITION The home of ' .. address .. ' is the prefix ' .. name .. ': call it there'
  end

  -- The tags of the other partitions that have members of a group, or users (`all`).
  function others.of(ctx, address)
    local known, tags = others.known(ctx), {}
    if not known or address:sub(1, 5) == 'user:' then return tags end
    if address == 'all' or not known.is_whole then
      for _, tag in ipairs(known.tags) do
        if tag ~= known.own then tags[#tags + 1] = tag end
      end
      return tags
    end
    local now, members = math.floor(ctx.now / SECOND), redis.call('HGETALL', ctx.prefix .. ':members:' .. address:sub(7))
    for i = 1, #members, 2 do
      if members[i] ~= known.own and tonumber(members[i + 1]) > now then tags[#tags + 1] = members[i] end
    end
    return tags
  end

  -- What the routes joined and left: in `others` since groups.lua comes before the partitions are known.
  function others.count_joined(ctx, deltas)
    local known = others.known(ctx)
    if not known or #known.tags == 1 then return end
    local key = ctx.prefix .. ':joined'
    for group, delta in pairs(deltas) do
      if delta ~= 0 and redis.call('HINCRBY', key, group, delta) <= 0 then redis.call('HDEL', key, group) end
    end
  end

  -- An entry lasts so much longer than twice the history at least, whatever a node's clock says: see `leapt`.
  local SPARE_SECONDS = 2 * DAY_SECONDS

  -- ARGV: tag, until which second, group…   The partition has members of these groups, whose home is here.
  -- Reply: those that nothing was known of
  register('tidings_enter', function(keys, args)
    local ctx, reply = open(keys), {}
    local now = math.floor(ctx.now / SECOND)
    local ends = math.max(tonumber(args[2]), now + 2 * ctx.limits.seconds + SPARE_SECONDS)
    for i = 3, #args do
      local key = ctx.prefix .. ':members:' .. args[i]
      local was = tonumber(redis.call('HGET', key, args[1]) or 0)
      if was <= now then reply[#reply + 1] = args[i] end
      if was < ends then
        redis.call('HSET', key, args[1], int(ends))
        if redis.call('EXPIRETIME', key) < ends then redis.call('EXPIREAT', key, int(ends)) end
      end
    end
    return reply
  end)

  -- One node in so many seconds asks.
  local RENEWED_SECONDS = 6 * 3600
  local MOST_NAMED = 500

  -- ARGV: where to go on, or '' to begin.
  -- Reply: where to go on ('0': that is all), group… of those that the routes joined users to
  register('tidings_joined', function(keys, args)
    local ctx = open(keys)
    if args[1] == '' and not redis.call('SET', ctx.prefix .. ':kept:renewal', '1', 'EX', RENEWED_SECONDS, 'NX') then return { '0' } end
    local found = redis.call('HSCAN', ctx.prefix .. ':joined', args[1] == '' and '0' or args[1], 'COUNT', MOST_NAMED)
    local reply = { found[1] }
    for i = 1, #found[2], 2 do reply[#reply + 1] = found[2][i] end
    return reply
  end)

  -- While the home of a group is away nobody can tell it of new members. What reaches it between its return and being
  -- told is missing here: until then the log counts as cut at an id that is far ahead, also if the node that let them
  -- in is gone.
  local AHEAD_SECONDS = 30 * DAY_SECONDS
  local function is_ahead(ctx, key) return (tonumber(redis.call('GET', key) or nil) or 0) > ctx.now + DAY_SECONDS * SECOND end

  -- ARGV: user, group, whose home is away…
  -- Reply: those that it must be told of later: the user was not a member, or another was let in before
  register('tidings_unheard', function(keys, args)
    local ctx, reply = open(keys), {}
    local marks = redis.call('HMGET', ctx.prefix .. ':groups:' .. args[1], unpack(args, 2))
    for i = 2, #args do
      local key = ctx.prefix .. ':trim:group:' .. args[i]
      if not (marks[i - 1] and read_mark(marks[i - 1]).joined) or is_ahead(ctx, key) then
        redis.call('SET', key, int(ctx.now + AHEAD_SECONDS * SECOND), 'EX', AHEAD_SECONDS)
        reply[#reply + 1] = args[i]
      end
    end
    return reply
  end)

  -- ARGV: how many groups were late, group…, other groups whose homes were told just now…
  -- Reply: those whose logs count as cut up to now
  register('tidings_heard', function(keys, args)
    local ctx, reply = open(keys), {}
    local late = count_at(args, 1)
    for i = 2, #args do
      local key = ctx.prefix .. ':trim:group:' .. args[i]
      if i - 1 <= late or is_ahead(ctx, key) then
        local id = ctx.last or next_id(ctx)
        redis.call('SET', key, int(id), 'EX', ctx.limits.seconds + 1)
        reply[#reply + 1] = args[i]
      end
    end
    return reply
  end)

  -- ARGV: group or 'all' as an address…   Reply: for each the tags of the other partitions that have members
  register('tidings_members', function(keys, args)
    local ctx, reply = open(keys), {}
    for i, address in ipairs(args) do reply[i] = others.of(ctx, address) end
    return reply
  end)

  -- ARGV: the tags of all, in order, with spaces between; the own one; 1 if nothing can stand in the directory yet.
  -- What stands is kept.
  register('tidings_divide', function(keys, args)
    local key = keys[1] .. ':config'
    local known = redis.call('HMGET', key, 'partitions', 'partition')
    if known[1] and (known[1] ~= args[1] or known[2] ~= args[2]) then
      refuse('TIDINGS_OTHER_PARTITIONS This partition is one of ' .. select(2, known[1]:gsub('%S+', '')) .. '; see "npm run partitions"')
    end
    redis.call('HSET', key, 'partitions', args[1], 'partition', args[2])
    if args[3] == '1' then redis.call('HSET', key, 'directory', '1') end
    limits = {}
    return 1
  end)

  -- KEYS[1]: the list of all partitions. ARGV: their prefixes, in order, for where there is no list.
  -- Reply: what stands there then
  register('tidings_list_partitions', function(keys, args)
    if redis.call('EXISTS', keys[1]) == 0 then redis.call('RPUSH', keys[1], unpack(args)) end
    return redis.call('LRANGE', keys[1], 0, -1)
  end)
end
