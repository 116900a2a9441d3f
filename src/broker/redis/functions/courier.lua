-- Copying what is left in an outbox: one node at a time, once a second.
--   <prefix>:taken           hash, tag -> id up to which it has everything (never)
--   <prefix>:courier         the node that copies now (some seconds)

do
  -- The committing node may still be copying entries that are younger than this. Of one further ahead of the time, the
  -- age is not known: the time was set back, or copies came from a master whose clock is ahead. Then two may copy, and
  -- a target takes each entry once.
  local GRACE, AHEAD = SECOND, 5 * SECOND
  local COURIER_MS = 3000
  -- About how many entries one call looks at, how many it replies, and how much work it may make: bytes that are read,
  -- and bytes that the target will write, since a copy goes to up to 1,000 logs there. A call must not hold up Redis
  -- for long, nor have more arguments than a node can send.
  local MOST_SEEN, MOST_READ, MOST_WORK, ADDRESS_WORK, CHUNK = 1024, 256, 1048576, 1024, 16

  -- ARGV: tag, the id up to which it has everything.
  -- Reply: ['' if that is all, else the id up to which the outbox was read; [id, id before, 1 for the first, [name,
  -- value, …], [address, …]], …], oldest first.
  -- Entries for other targets count towards the limits too, so a reply may have none.
  register('tidings_read_outbox', function(keys, args)
    local ctx, reply, seen, work, from = open(keys), { '' }, 0, 0, tonumber(args[2])
    while true do
      local chunk = redis.call('XRANGE', ctx.prefix .. ':outbox', int(from + 1) .. '-0', '+', 'COUNT', CHUNK)
      for _, raw in ipairs(chunk) do
        from = tonumber(raw[1]:match('^%d+'))
        local fields, bytes, owed = {}, 0, nil
        seen = seen + 1
        for i = 1, #raw[2], 2 do
          local name, value = raw[2][i], raw[2][i + 1]
          work = work + #value
          if name == '>' .. args[1] then owed = value elseif name:sub(1, 1) ~= '>' then
            fields[#fields + 1] = name
            fields[#fields + 1] = value
            bytes = bytes + #value
          end
        end
        if owed then
          local to = {}
          for address in owed:gmatch('[^\n]+') do to[#to + 1] = address end
          local before = table.remove(to, 1)
          work = work + #to * (bytes + ADDRESS_WORK)
          reply[#reply + 1] = { int(from), before, #reply == 1 and 1 or 0, fields, to }
        end
        if seen >= MOST_SEEN or #reply > MOST_READ or work >= MOST_WORK then
          reply[1] = int(from)
          return reply
        end
      end
      if #chunk < CHUNK then return reply end
    end
  end)

  local function trim_outbox(ctx)
    local sent, taken, least = redis.call('HGETALL', ctx.prefix .. ':sent'), {}, math.huge
    local flat = redis.call('HGETALL', ctx.prefix .. ':taken')
    for i = 1, #flat, 2 do taken[flat[i]] = tonumber(flat[i + 1]) end
    local owed = {}
    for i = 1, #sent, 2 do
      local has = taken[sent[i]] or 0
      if has < tonumber(sent[i + 1]) then
        least = math.min(least, has)
        owed[#owed + 1] = sent[i]
      end
    end
    local key = ctx.prefix .. ':outbox'
    if least == math.huge then redis.call('UNLINK', key) else redis.call('XTRIM', key, 'MINID', int(least + 1)) end
    return owed, taken
  end

  -- Called once a second.
  -- ARGV: all tags, the own tag, the asking node ('': it only reports), 1 if fresh entries count as left over, then
  -- (tag, id up to which it has everything)…
  -- Reply: how many entries wait, then (tag, id up to which it has everything)… of those that are owed something, for
  -- the asking node to copy. No other node is told for some seconds.
  register('tidings_outbox', function(keys, args)
    local ctx, reply, who_asks = open(keys), { 0 }, args[3]
    if redis.call('HSETNX', ctx.prefix .. ':config', 'partitions', args[1]) == 1 then
      redis.call('HSET', ctx.prefix .. ':config', 'partition', args[2])
      limits = {}
    end
    for i = 5, #args - 1, 2 do
      local has = tonumber(redis.call('HGET', ctx.prefix .. ':taken', args[i]) or 0) or 0
      if tonumber(args[i + 1]) > has then redis.call('HSET', ctx.prefix .. ':taken', args[i], args[i + 1]) end
    end
    if redis.call('EXISTS', ctx.prefix .. ':outbox') == 0 then return reply end
    local owed, taken = trim_outbox(ctx)
    reply[1] = redis.call('XLEN', ctx.prefix .. ':outbox')
    if #owed == 0 then return reply end
    local courier = ctx.prefix .. ':courier'
    local who = redis.call('GET', courier)
    -- A TTL above the limit means that the time was set back, so that courier may be gone.
    if who_asks == '' or (who and who ~= who_asks and redis.call('PTTL', courier) <= COURIER_MS) then return reply end
    local oldest = redis.call('XRANGE', ctx.prefix .. ':outbox', '-', '+', 'COUNT', 1)[1]
    local made = oldest and tonumber(oldest[1]:match('^%d+'))
    if not made or (args[4] ~= '1' and made > ctx.now - GRACE and made < ctx.now + AHEAD) then return reply end
    redis.call('SET', courier, who_asks, 'PX', COURIER_MS)
    for _, tag in ipairs(owed) do
      reply[#reply + 1] = tag
      reply[#reply + 1] = int(taken[tag] or 0)
    end
    return reply
  end)
end
