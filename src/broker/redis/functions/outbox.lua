-- How a commit in one partition reaches the others: exactly once, in order, whatever dies in between.
--
-- A commit writes to the logs of its own partition and one entry for all others to its outbox. The committing node
-- copies it at once; any node copies what is left (courier.lua). For each target the entry names the previous entry,
-- and the target takes it only after that one.
--   <prefix>:outbox          stream, <id>-0 {e, d, keep, x, k, tp: as in a publish; r: the id of what is retracted;
--                            ><tag>: "<id before>\n<address>\n…"} (until all have it; HISTORY after the newest)
--   <prefix>:sent            hash, tag -> id of the newest entry that it is owed (never)

do
  -- The most entries that a partition which is away is owed. Past that its history begins anew, and its clients are
  -- told.
  local MOST_OWED = 100000

  local function add_target(targets, tag, address)
    local addresses = targets[tag]
    if not addresses then addresses = {}; targets[tag] = addresses; targets[#targets + 1] = tag end
    addresses[#addresses + 1] = address
  end

  -- Adds the partitions that are owed what happens at an address.
  local function add_targets(ctx, targets, address)
    for _, tag in ipairs(others.of(ctx, address)) do add_target(targets, tag, address) end
  end

  -- Reads what each target was owed last. Called before anything is done, since it fails if the key is of another type.
  local function see_sent(ctx, targets)
    targets.before = {}
    for i, tag in ipairs(targets) do targets.before[i] = redis.call('HGET', ctx.prefix .. ':sent', tag) or '0' end
  end

  -- targets: a list of tags, and by tag its addresses; see_sent has seen it.
  -- Returns [tag, id before, [address, …]] for each.
  local function enqueue(ctx, n, item, targets)
    local key, sent, fields = ctx.prefix .. ':outbox', ctx.prefix .. ':sent', {}
    local reply = {}
    for name, value in pairs(item) do fields[#fields + 1] = name; fields[#fields + 1] = value end
    for i, tag in ipairs(targets) do
      local before = targets.before[i]
      fields[#fields + 1] = '>' .. tag
      fields[#fields + 1] = before .. '\n' .. table.concat(targets[tag], '\n')
      reply[i] = { tag, before, targets[tag] }
    end
    local added = redis.pcall('XADD', key, 'MAXLEN', '~', MOST_OWED, int(n) .. '-0', unpack(fields))
    if type(added) ~= 'string' then
      -- The key is not ours, or has ids of the future. Targets that were owed its entries find the chain broken and
      -- tell their clients. After any other error the outbox stays; targets notice in the same way, unless the
      -- committing node copies now.
      local why = type(added) == 'table' and added.err or ''
      if why:find('WRONGTYPE', 1, true) or why:find('equal or smaller', 1, true) then
        redis.call('UNLINK', key)
        redis.call('XADD', key, int(n) .. '-0', unpack(fields))
      end
    end
    redis.call('EXPIREAT', key, end_of(n, ctx.limits.seconds))
    for _, tag in ipairs(targets) do redis.call('HSET', sent, tag, int(n)) end
    return reply
  end

  local function item_of(req)
    local item = { e = req.event, d = req.data }
    if req.keep ~= 'inbox' then item.keep = req.keep end
    if req.expires then item.x = int(req.expires) end
    if req.key then item.k = req.key end
    if req.traceparent then item.tp = req.traceparent end
    return item
  end

  -- Makes nodes copy what another service published.
  function others.nudge(ctx)
    redis.call(PUBLISH, ctx.prefix .. ':outbox', '{"data":0}')
  end

  -- The partitions that are owed what another service does at an address. Fails if the service's Redis user lacks the
  -- rights to queue it.
  function others.targets(ctx, address)
    local targets, outbox, sent = {}, ctx.prefix .. ':outbox', ctx.prefix .. ':sent'
    add_targets(ctx, targets, address)
    if #targets == 0 then return targets end
    others.must_be_allowed('HGET', sent, '0')
    others.must_be_allowed('HSET', sent, '0', '0')
    others.must_be_allowed('XADD', outbox, '*', 'e', 'x')
    others.must_be_allowed('EXPIREAT', outbox, '1')
    others.must_be_allowed(PUBLISH, outbox, '')
    see_sent(ctx, targets)
    return targets
  end

  -- Queues what another service published for the partitions in `targets`.
  function others.publish(ctx, n, req, targets)
    if #targets == 0 then return end
    enqueue(ctx, n, item_of(req), targets)
    others.nudge(ctx)
  end

  function others.retract(ctx, targets, origin)
    if #targets == 0 then return '', {} end
    local n = next_id(ctx)
    return int(n), enqueue(ctx, n, { r = int(origin) }, targets)
  end

  -- Publishes like publish_one, and queues what other partitions are owed.
  -- ARGV from `at`: idempotency key or '', publisher or '' (if this is their partition), their token's iat, event,
  -- data, keep, ttl or '', key or '', traceparent or '', how many addresses of this partition, address…, how many of
  -- them have their home here (these come first), how many addresses are elsewhere, (tag, address)…, how many addresses
  -- are stored with the answer, address…
  -- Returns [replayed, id or '', [receivers], [address, …] or 0, the id in the outbox, [[tag, id before, [address, …]],
  -- …]]; if replayed, also how many partitions had not got it when the first call was answered (negative: it was not
  -- answered yet).
  local function commit_one(ctx, id, args, at, local_count, far_count, all_count)
    local key, user, keep, ttl, replaces, tp = args[at], args[at + 1], args[at + 5], args[at + 6], args[at + 7], args[at + 8]
    if user ~= '' and is_publisher_revoked(ctx, user, tonumber(args[at + 2])) then refuse(REVOKED) end
    local homed_at = at + 10 + local_count
    local far_at, all_at = homed_at + 2, homed_at + 3 + 2 * far_count
    local to = { unpack(args, at + 10, at + 9 + local_count) }
    local req = {
      id = id, event = args[at + 3], data = args[at + 4], keep = keep, ttl = tonumber(ttl),
      key = replaces ~= '' and replaces, traceparent = tp ~= '' and tp, to = to
    }
    local answer_key = key ~= '' and ctx.prefix .. ':idem:' .. key
    local all = answer_key and { to = { unpack(args, all_at, all_at + all_count - 1) } }
    if answer_key then
      local known = known_answer(answer_key, all)
      if known then return { 1, known[1], known[2], known[3] == all.to and 0 or known[3], '', {}, known[5] or 0 } end
    end
    if req.ttl and req.ttl < ctx.limits.seconds then req.expires = id + req.ttl * SECOND end
    -- Before anything is sent: an emptied partition refuses here, and the request will be repeated.
    local targets = {}
    for i = 1, tonumber(args[homed_at]) do add_targets(ctx, targets, to[i]) end
    for i = 0, far_count - 1 do add_target(targets, args[far_at + 2 * i], args[far_at + 2 * i + 1]) end
    see_sent(ctx, targets)
    if #targets > 0 then others.must_be_allowed('HSET', ctx.prefix .. ':sent', '0', '0') end
    local _, answer = publish_request(ctx, req)
    local owed = #targets > 0 and enqueue(ctx, id, item_of(req), targets) or {}
    if answer_key then
      local receivers, at_address = {}, {}
      for i, address in ipairs(to) do at_address[address] = answer[2][i] end
      for i, address in ipairs(all.to) do receivers[i] = at_address[address] or 0 end
      all.id = answer[1] ~= '' and id
      -- Negative until the committing node has copied and tells which copies failed.
      all.pending = #owed > 0 and -#owed or nil
      keep_answer(answer_key, all, receivers)
    end
    return { 0, answer[1], answer[2], 0, #owed > 0 and int(id) or '', owed }
  end

  -- ARGV: how many requests, then each as for commit_one.   Reply: for each the result of commit_one.
  register('tidings_commit', function(keys, args)
    local ctx, reply, at = open(keys), {}, 2
    local requests = count_at(args, 1)
    local first = reserve(ctx, math.max(1, requests))
    while args[at] and #reply < requests do
      local local_count = count_at(args, at + 9)
      local far_at = at + 11 + local_count
      local far_count = count_at(args, far_at)
      local all_at = far_at + 1 + 2 * far_count
      local all_count = count_at(args, all_at)
      reply[#reply + 1] = alone(commit_one, ctx, first + #reply, args, at, local_count, far_count, all_count)
      at = all_at + 1 + all_count
    end
    return reply
  end)

  -- Adds what became of the copies to a stored answer.
  -- ARGV: idempotency key, how many partitions will get it later, nodes that got it, for each address
  register('tidings_settle', function(keys, args)
    local key = keys[1] .. ':idem:' .. args[1]
    local text = redis.call('GET', key)
    if not text then return 0 end
    local answer = cmsgpack.unpack(text)
    local pending = tonumber(args[2])
    answer[5] = pending and pending > 0 and pending or nil
    for i = 3, #args do answer[2][i - 2] = tonumber(args[i]) end
    redis.call('SET', key, cmsgpack.pack(answer), 'KEEPTTL')
    return 1
  end)

  -- ARGV: publisher or '', their token's iat, address, 'id' or 'key', which.
  -- Reply: [1, or 0 if there is none; the id that the publisher was answered, the id in the outbox, [[tag, id before,
  -- [address]], …]]
  register('tidings_take_back', function(keys, args)
    local ctx, address = open(keys), args[3]
    if args[1] ~= '' and is_publisher_revoked(ctx, args[1], tonumber(args[2])) then refuse(REVOKED) end
    local id = args[4] == 'id' and others.id_of(ctx, address, tonumber(args[5]))
      or tonumber(redis.call('ZSCORE', ctx.prefix .. ':keys:' .. address, args[5]) or nil)
    local origin = id and others.origin_of(ctx, address, id)
    if not id then return { 0, '', '', {} } end
    local targets = {}
    add_targets(ctx, targets, address)
    see_sent(ctx, targets)
    if retract_from(ctx, address, { id = id }) == 0 then return { 0, '', '', {} } end
    local n, owed = others.retract(ctx, targets, origin)
    return { 1, int(origin), n, owed }
  end)

  -- ARGV: user, their token's iat.   Reply: 1 if a publisher has logged out since
  register('tidings_is_revoked', function(keys, args)
    return is_publisher_revoked(open(keys), args[1], tonumber(args[2])) and 1 or 0
  end)
end
