-- How a partition takes copies of what another one committed: each once, in order. A copy gets an id of its own if the
-- target's clock has passed the publisher's id.
--
--   <prefix>:copied          hash, in the target: tag of the source -> id of the newest entry that was taken from it
--                            (never)
--   <prefix>:was:<address>:<id>  the id of a copy here, if it differs from the one that the publisher was answered; at
--                                the home of the address also the reverse, with = before the id here, unless it is a
--                                user's and has no key (HISTORY)
--   <prefix>:late:<address>  sorted set of what copies must heed that come late, with the ids that publishers were
--                            answered: r followed by an id -> the same, of what was retracted before its copy came; k
--                            followed by a key -> the newest notification with this key that is not in the log any
--                            more, although none replaced it (HISTORY after the newest)

do
  -- Each address remembers at most this many of them.
  local MOST_LATE = 10000
  -- What is live only is not taken after this time. A copy takes milliseconds; if its publisher died or a master did
  -- not answer, some seconds.
  local LIVE = 10 * SECOND

  -- Translates the id that a publisher was answered to the id here; origin_of does the reverse.
  function others.id_of(ctx, address, origin)
    return tonumber(redis.call('GET', ctx.prefix .. ':was:' .. address .. ':' .. int(origin)) or nil) or origin
  end

  function others.origin_of(ctx, address, id)
    if not others.known(ctx) then return id end
    local raw = redis.call('XRANGE', ctx.prefix .. ':log:' .. address, int(id) .. '-0', int(id) .. '-0')[1]
    return raw and tonumber(read_entry(raw, math.huge).o) or id
  end

  -- The same as origin_of, for other services, which may not read the log. `given`: what to take otherwise.
  function others.origin_unread(ctx, address, id, given)
    return tonumber(redis.call('GET', ctx.prefix .. ':was:' .. address .. ':=' .. int(id)) or nil) or given or id
  end

  -- A copy keeps the publisher's id if it is greater than all ids here and not far ahead of them and of the time. After
  -- the time was set back, all partitions are ahead of it, and by following one another they agree on what is newer.
  local function copy_id(ctx, origin)
    local last = ctx.last or tonumber(redis.call('GET', ctx.prefix .. ':clock') or nil)
    if not last or origin <= last or origin > math.max(ctx.now, last) + 60 * SECOND or leapt(ctx, last) then return next_id(ctx) end
    others.gives(ctx, last, origin)
    redis.call('SET', ctx.prefix .. ':clock', int(origin))
    return origin
  end

  local function remember(ctx, address, member, origin)
    local key = ctx.prefix .. ':late:' .. address
    redis.call('ZADD', key, 'GT', int(origin), member)
    -- No older copy is taken any more.
    redis.call('ZREMRANGEBYSCORE', key, '-inf', int(ctx.now - ctx.limits.seconds * SECOND))
    redis.call('ZREMRANGEBYRANK', key, 0, -MOST_LATE - 1)
    redis.call('EXPIREAT', key, end_of(math.max(ctx.now, origin), ctx.limits.seconds))
  end

  -- Called when a notification with a key goes and none takes its place: copies from other partitions may still come
  -- that are older, and were replaced by it elsewhere.
  function others.remember_key(ctx, address, key, origin)
    local known = key and others.known(ctx)
    if known and #known.tags > 1 then remember(ctx, address, 'k' .. key, origin) end
  end

  -- The publish may be in another outbox than its retraction, and come after it.
  local function apply_retract(ctx, origin, to)
    for _, address in ipairs(to) do
      local id = others.id_of(ctx, address, origin)
      -- An entry with the same id may be a copy of another notification.
      local is_here = others.origin_of(ctx, address, id) == origin and retract_from(ctx, address, { id = id }) == 1
      if not is_here and id == origin then
        -- So that its copy has another id and is looked up.
        copy_id(ctx, origin)
        remember(ctx, address, 'r' .. int(origin), origin)
      end
    end
    return {}
  end

  -- How a notification that was copied is gone already (see `bury`), or nil. Only what came late may have been
  -- retracted, or replaced by what is gone: that is looked up, which takes a tenth of the time of a copy.
  local function fate_of(ctx, address, origin, is_late, key, expires)
    local known = is_late and redis.call('ZMSCORE', ctx.prefix .. ':late:' .. address, 'r' .. int(origin), 'k' .. (key or '')) or {}
    if known[1] then return 'r' end
    if (expires and expires <= ctx.now) or origin <= ctx.now - ctx.limits.seconds * SECOND then return 'x' end
    if not key then return nil end
    local newest = tonumber(redis.call('ZSCORE', ctx.prefix .. ':keys:' .. address, key) or nil)
    -- The ids that publishers were answered decide which of two is newer, so that all partitions agree.
    newest = math.max(tonumber(known[2] or 0), newest and others.origin_of(ctx, address, newest) or 0)
    return newest > origin and 'p' or nil
  end

  -- What it replaced elsewhere must go here too. Streams did not get it, so they are told that the older one is gone.
  local function bury_unseen(ctx, address, origin, key, how, expires)
    bury(ctx, address, origin, how, how == 'x' and expires or ctx.now)
    if not key then return end
    local older = tonumber(redis.call('ZSCORE', ctx.prefix .. ':keys:' .. address, key) or nil)
    if older and others.origin_of(ctx, address, older) < origin then retract_from(ctx, address, { id = older, how = 'p' }) end
    -- Of what was replaced, a newer one is known.
    if how ~= 'p' then others.remember_key(ctx, address, key, origin) end
  end

  local function apply_publish(ctx, origin, fields, to)
    local keep, expires, key = fields.keep or 'inbox', tonumber(fields.x or nil), fields.k
    local req = { to = to, event = fields.e, data = fields.d, keep = keep, expires = expires, key = key, traceparent = fields.tp }
    if keep == 'none' then
      local is_over = origin <= ctx.now - LIVE or (expires and expires <= ctx.now)
      return is_over and {} or send(ctx, req)
    end
    -- Also if it is gone: what is published here from now on is newer, so it must have a greater id.
    local receivers, places, id = {}, {}, copy_id(ctx, origin)
    req.to = {}
    for i, address in ipairs(to) do
      local how = fate_of(ctx, address, origin, id ~= origin, key, expires)
      receivers[i] = 0
      if how then bury_unseen(ctx, address, origin, key, how, expires)
      else req.to[#req.to + 1], places[#places + 1] = address, i end
    end
    if #req.to == 0 then return receivers end
    -- Greater than what streams have just been told as of.
    req.id = ctx.last == id and id or next_id(ctx)
    if req.id ~= origin then
      req.origin = origin
      local ends = end_of(req.id, ctx.limits.seconds)
      for _, address in ipairs(req.to) do
        local was = ctx.prefix .. ':was:' .. address .. ':'
        redis.call('SET', was .. int(origin), int(req.id), 'EXAT', ends)
        -- For `retract` of other services, which is called at the home. A partition that was just emptied takes copies,
        -- and does not know what its home is: that is an error there.
        local is_asked = key or address:sub(1, 5) ~= 'user:'
        if is_asked and not select(2, pcall(others.fault, ctx, address)) then
          redis.call('SET', was .. '=' .. int(req.id), int(origin), 'EXAT', ends)
        end
      end
    end
    store(ctx, req)
    for j, count in ipairs(send(ctx, req)) do receivers[places[j]] = count end
    return receivers
  end

  -- How many nodes listen, for a copy that was already taken.
  local function listeners(ctx, to)
    local counts = {}
    for i, address in ipairs(to) do counts[i] = redis.call('PUBSUB', NUMSUB, ctx.prefix .. ':' .. address)[2] end
    return counts
  end

  -- Nobody knows what was lost between two copies, so the history begins anew.
  local function begin_after_loss(ctx)
    redis.call('SET', ctx.prefix .. ':born', int(next_id(ctx)))
  end

  -- ARGV: tag of the source, then for each entry in order: its id, the id of the previous one, 1 if no older one is
  -- left for this target, how many fields, name, value…, how many addresses, address…
  -- Reply: [id of the newest taken entry, the newest id given out here, for each entry [nodes that got it, for each
  -- address], …]; fewer if one is missing before the next.
  register('tidings_copy', function(keys, args)
    local ctx, source, at = open(keys), args[1], 2
    local key = ctx.prefix .. ':copied'
    local last, reply = tonumber(redis.call('HGET', key, source) or 0) or 0, { '', '' }
    local was = last
    while args[at] do
      local id, before, is_first = tonumber(args[at]), tonumber(args[at + 1]), args[at + 2] == '1'
      local count, fields = count_at(args, at + 3), {}
      for i = at + 4, at + 3 + count, 2 do fields[args[i]] = args[i + 1] end
      local to_at = at + 4 + count
      local to_count = count_at(args, to_at)
      local to = { unpack(args, to_at + 1, to_at + to_count) }
      if id <= last then reply[#reply + 1] = listeners(ctx, to) else
        if last < before then
          if not is_first then break end
          begin_after_loss(ctx)
        end
        -- Marked as taken first: an entry that fails here always fails, and must not block what follows.
        last = id
        redis.call('HSET', key, source, int(last))
        local ok, receivers
        if fields.r then ok, receivers = pcall(apply_retract, ctx, tonumber(fields.r), to) else ok, receivers = pcall(apply_publish, ctx, id, fields, to) end
        if not ok then begin_after_loss(ctx) end
        reply[#reply + 1] = ok and receivers or {}
      end
      at = to_at + to_count + 1
    end
    reply[1], reply[2] = int(last), redis.call('GET', ctx.prefix .. ':clock') or '0'
    return reply
  end)
end
