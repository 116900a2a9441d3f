-- With several partitions: the directory of partitions in which a group has members. The home of the group, the
-- partition of its name, has it.
--
--   <prefix>:members:<group>  hash, partition -> second until which it has members (the latest of them)
--   <prefix>:joined           hash, in the members' partition: group -> how many of its users are members through the
--                             API (until there are none). Nodes renew the homes' entries for these before they expire,
--                             so that nobody has to remove them
-- Fields of <prefix>:config: `partitions`, all tags in order; `partition`, the own tag ('' while partitions are being
-- divided; `none` at a prefix that is no partition any more, and at REDIS_PREFIX itself); `directory`, present unless
-- parts of the directory may have been lost. Without it, and for a minute after this process became the master,
-- whatever is published to a group goes to all partitions.

do
  -- A replica that has just become the master may lack the newest entries of the directory. Nodes that know of entries
  -- which are gone say so within seconds (configure.lua). So the directory counts only when this process has been
  -- asked for a minute without a pause; nodes ask each second.
  local DOUBTED, PAUSE = 60 * SECOND, 5 * SECOND
  local asked = {}

  -- Notes that this partition is asked, and returns whether its directory counts.
  function others.is_steady(ctx)
    local known = asked[ctx.prefix]
    if not known or ctx.now < known.last or ctx.now > known.last + PAUSE then
      known = { since = ctx.now }
      asked[ctx.prefix] = known
    end
    known.last = ctx.now
    return ctx.now > known.since + DOUBTED
  end

  -- Returns the limits with all tags and the own tag; nil if there is only one partition.
  function others.known(ctx)
    local known = ctx.limits
    if known.tags == nil then
      local fields = redis.call('HMGET', ctx.prefix .. ':config', 'partitions', 'partition', 'directory')
      known.tags = false
      -- REDIS_PREFIX has no colon, so this is one of several partitions, or a prefix that nobody reads.
      if not fields[1] and ctx.prefix:find(':{') then
        known.tags = nil
        if not ctx.prefix:find(':{%d+}$') then
          refuse('TIDINGS_OTHER_PARTITION ' .. ctx.prefix .. ' is no prefix of a partition: "'
            .. ctx.prefix:match('^(.-):{') .. ':partitions" says which there are')
        end
        -- The partition lost what it knew of the others. A node restores that within a second.
        refuse('TIDINGS_NOT_READY This partition was emptied; call again when a node has set it up, which takes a second')
      end
      if fields[1] then
        known.tags, known.own, known.is_whole = {}, fields[2], others.is_steady(ctx) and fields[3]
        for tag in fields[1]:gmatch('%S+') do known.tags[#known.tags + 1] = tag end
      end
    end
    return known.tags and known or nil
  end

  -- A node that was stopped or cut off while its prefix was divided would write what nobody reads.
  function others.refuse_none(ctx)
    refuse('TIDINGS_NOT_READY ' .. ctx.prefix .. ' is no partition any more, or is being divided; nodes must have the number of partitions '
      .. 'that "npm run partitions" was given')
  end

  -- The slot of a name as CLUSTER KEYSLOT computes it: CRC-16 (XMODEM) modulo 16384 of the part between the first
  -- braces if it is not empty, else of the whole name.
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

  -- Why something must be published in another partition; nil if the address has its home here.
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

  -- The tags of the other partitions with members of a group; all others for `all`.
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

  -- Counts members through the API. Part of `others`, because groups.lua is loaded before this file.
  function others.count_joined(ctx, deltas)
    local known = others.known(ctx)
    if not known or #known.tags == 1 then return end
    local key = ctx.prefix .. ':joined'
    for group, delta in pairs(deltas) do
      if delta ~= 0 and redis.call('HINCRBY', key, group, delta) <= 0 then redis.call('HDEL', key, group) end
    end
  end

  -- Entries last at least this much longer than twice the history, whatever a node's clock says: see `leapt`.
  local SPARE_SECONDS = 2 * DAY_SECONDS

  -- Enters a partition that has members of these groups, whose home is here.
  -- ARGV: tag, until which second, group…
  -- Reply: an id, by which a node notices if the home loses this, or '' if nothing was written; then the groups for
  -- which it was not entered
  register('tidings_enter', function(keys, args)
    local ctx, reply = open(keys), { '' }
    local now = math.floor(ctx.now / SECOND)
    local ends = math.max(tonumber(args[2]), now + 2 * ctx.limits.seconds + SPARE_SECONDS)
    for i = 3, #args do
      local key = ctx.prefix .. ':members:' .. args[i]
      local was = tonumber(redis.call('HGET', key, args[1]) or 0)
      if was <= now then reply[#reply + 1] = args[i] end
      if was < ends then
        if reply[1] == '' then reply[1] = int(next_id(ctx)) end
        redis.call('HSET', key, args[1], int(ends))
        if redis.call('EXPIRETIME', key) < ends then redis.call('EXPIREAT', key, int(ends)) end
      end
    end
    return reply
  end)

  -- One node asks within this time.
  local RENEWED_SECONDS = 6 * 3600
  local MOST_NAMED = 500

  -- ARGV: the cursor, or '' to begin.
  -- Reply: the next cursor ('0': that is all), group… of those with members through the API
  register('tidings_joined', function(keys, args)
    local ctx = open(keys)
    if args[1] == '' and not redis.call('SET', ctx.prefix .. ':kept:renewal', '1', 'EX', RENEWED_SECONDS, 'NX') then return { '0' } end
    local found = redis.call('HSCAN', ctx.prefix .. ':joined', args[1] == '' and '0' or args[1], 'COUNT', MOST_NAMED)
    local reply = { found[1] }
    for i = 1, #found[2], 2 do reply[#reply + 1] = found[2][i] end
    return reply
  end)

  -- While the home of a group is away, nobody can tell it of new members. What is published there between its return
  -- and being told is missing here. Until then the log counts as trimmed up to an id far ahead, even if the node that
  -- admitted the members is gone.
  local AHEAD_SECONDS = 30 * DAY_SECONDS
  local function is_ahead(ctx, key) return (tonumber(redis.call('GET', key) or nil) or 0) > ctx.now + DAY_SECONDS * SECOND end

  -- ARGV: user, group whose home is away…
  -- Reply: the groups whose homes must be told later, because the user was no member, or another was admitted before
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

  -- ARGV: how many groups were late, group…, other groups whose homes were just told…
  -- Reply: the groups whose logs count as trimmed up to now
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

  -- ARGV: address of a group, or 'all'…   Reply: for each the tags of the other partitions with members
  register('tidings_members', function(keys, args)
    local ctx, reply = open(keys), {}
    for i, address in ipairs(args) do reply[i] = others.of(ctx, address) end
    return reply
  end)

  -- ARGV: all tags in order, separated by spaces; the own tag; 1 if nothing can be in the directory yet. Existing
  -- values are kept.
  register('tidings_divide', function(keys, args)
    local key = keys[1] .. ':config'
    local known = redis.call('HMGET', key, 'partitions', 'partition')
    if known[1] and (known[1] ~= args[1] or known[2] ~= args[2]) then
      refuse('TIDINGS_OTHER_PARTITIONS This partition is one of ' .. select(2, known[1]:gsub('%S+', '')) .. '; see "npm run partitions"')
    end
    redis.call('HSET', key, 'partitions', args[1], 'partition', args[2])
    if args[3] == '1' then
      redis.call('HSET', key, 'directory', '1')
      asked[keys[1]] = { since = 0, last = open(keys).now }
    end
    limits = {}
    return 1
  end)

  -- KEYS[1]: the list of all partitions. ARGV: their prefixes in order, in case there is no list.
  -- Reply: the list
  register('tidings_list_partitions', function(keys, args)
    if redis.call('EXISTS', keys[1]) == 0 then redis.call('RPUSH', keys[1], unpack(args)) end
    return redis.call('LRANGE', keys[1], 0, -1)
  end)
end
