-- Entries of the logs: writing, trimming and reading them.

local function length_of(ctx, address)
  return address:sub(1, 5) == 'user:' and ctx.limits.user_length or ctx.limits.group_length
end

-- Trims a log that exceeds its length, and records up to where. Whoever had a position below that missed something.
local function trim(ctx, address, id)
  local log, length = ctx.prefix .. ':log:' .. address, length_of(ctx, address)
  if redis.call('XLEN', log) < length + TRIM_STEP then return end
  redis.call('XTRIM', log, 'MAXLEN', length + 1)
  local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1][1]:match('^%d+')
  redis.call('XTRIM', log, 'MAXLEN', length)
  redis.call('SET', ctx.prefix .. ':trim:' .. address, oldest, 'EXAT', end_of(id, ctx.limits.seconds))
  local keys = ctx.prefix .. ':keys:' .. address
  -- An entry with a ttl has another note with a higher score, which is removed too. Notes beyond this limit expire.
  for _, member in ipairs(redis.call('ZRANGE', keys, '-inf', oldest, 'BYSCORE', 'LIMIT', 0, 10 * TRIM_STEP)) do
    local with_end = member:match('^\1(%d+):')
    if with_end then redis.call('ZREM', keys, '\3' .. with_end) end
  end
  redis.call('ZREMRANGEBYSCORE', keys, '-inf', oldest)
end

-- Trimming needs reading, which other services may not do, so a node trims within a second. To save time, not every
-- publish checks the length.
local LOOKS = 16
local function ask_for_trim(ctx, address, id)
  if id % LOOKS ~= 0 or redis.call('XLEN', ctx.prefix .. ':log:' .. address) < length_of(ctx, address) + TRIM_STEP then return end
  redis.call('SADD', ctx.prefix .. ':overlong', address)
  redis.call('EXPIRE', ctx.prefix .. ':overlong', DAY_SECONDS)
end

-- Removes a key that cannot be our log (another type, or ids of the future), and makes its readers `incomplete`.
local function put_away(ctx, address, log, id)
  redis.call('UNLINK', log)
  redis.pcall('ZREMRANGEBYSCORE', ctx.prefix .. ':keys:' .. address, '-inf', '+inf')
  redis.call('SET', ctx.prefix .. ':trim:' .. address, int(id - 1), 'EXAT', end_of(id, ctx.limits.seconds))
end

local function append(ctx, address, log, entry_id, id, fields)
  local added = redis.pcall('XADD', log, entry_id, unpack(fields))
  if type(added) == 'string' then return end
  local why = added.err or ''
  if not (why:find('WRONGTYPE', 1, true) or why:find('equal or smaller', 1, true)) then error(added, 0) end
  put_away(ctx, address, log, id)
  redis.call('XADD', log, entry_id, unpack(fields))
end

-- Removes the key and the notes of an entry that is removed.
local function forget_entry(ctx, address, id)
  local keys = ctx.prefix .. ':keys:' .. address
  redis.call('ZADD', keys, 'XX', int(id), '\3' .. int(id))
  redis.call('ZREMRANGEBYSCORE', keys, int(id), int(id))
end

-- Removes the older entry with the same key. This is no gap.
local function replace_key(ctx, address, log, key, id, ends)
  local keys = ctx.prefix .. ':keys:' .. address
  local older = redis.call('ZSCORE', keys, key)
  redis.call('ZADD', keys, int(id), key)
  redis.call('EXPIREAT', keys, ends)
  if older then
    if redis.call('XDEL', log, int(older) .. '-0') > 0 then bury(ctx, address, tonumber(older), 'p', id) end
    forget_entry(ctx, address, older)
  end
end

-- Notes for counting: entries that may not count, and large entries that do, so that counting need not read them. They
-- are members of the sorted set of keys. No key begins with \1 or \2 (or \3, whose score is the id at which an entry
-- expires). Notes only save work: entries without a note are read. `ends`: the id from which on the entry does not
-- count, or 0.
local LARGE_BYTES = 4096
local function note(ctx, address, kind, id, ends, key_ends)
  local keys = ctx.prefix .. ':keys:' .. address
  redis.pcall('ZADD', keys, int(id), kind .. int(id) .. ':' .. int(ends))
  redis.pcall('EXPIREAT', keys, key_ends)
end

local function note_for_counts(ctx, address, req, key_ends)
  if req.expires then
    -- This note can be looked up by name without reading the log, which services may not do.
    redis.pcall('ZADD', ctx.prefix .. ':keys:' .. address, int(req.expires), '\3' .. int(req.id))
    redis.pcall('EXPIREAT', ctx.prefix .. ':keys:' .. address, key_ends)
  end
  if req.keep == 'replay' then return note(ctx, address, '\1', req.id, 0, key_ends) end
  if req.expires then note(ctx, address, '\1', req.id, req.expires, key_ends) end
  if #req.data >= LARGE_BYTES then note(ctx, address, '\2', req.id, req.expires or 0, key_ends) end
end

-- Whether one user may get it by several addresses.
local function is_shared(to)
  if #to == 1 then return false end
  for _, address in ipairs(to) do
    if address:sub(1, 5) ~= 'user:' then return true end
  end
  return false
end

-- Writes to the logs. If anything fails, what was written is removed again.
local function store(ctx, req)
  local id, prefix = req.id, ctx.prefix
  local entry_id, ends = int(id) .. '-0', end_of(id, ctx.limits.seconds)
  local fields = { 'e', req.event, 'd', req.data }
  local function add(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if req.keep == 'replay' then add('r', '1') end
  if req.expires then add('x', int(req.expires)) end
  if req.key then add('k', req.key) end
  if is_shared(req.to) then add('m', '1') end
  if req.origin then add('o', int(req.origin)) end
  local written = {}
  local ok, why = pcall(function()
    for i, address in ipairs(req.to) do
      local log = prefix .. ':log:' .. address
      append(ctx, address, log, entry_id, id, fields)
      written[i] = log
      redis.call('EXPIREAT', log, ends)
      if req.by_service then ask_for_trim(ctx, address, id) end
      -- Fails here if it cannot be asked below.
      if req.key then redis.call('ZSCORE', prefix .. ':keys:' .. address, req.key) end
    end
    -- From here on other entries are removed. Everything that may be refused was done before.
    for i, address in ipairs(req.to) do
      note_for_counts(ctx, address, req, ends)
      if req.key then replace_key(ctx, address, written[i], req.key, id, ends) end
      if not req.by_service then trim(ctx, address, id) end
    end
  end)
  if ok then return end
  for i, log in ipairs(written) do
    redis.pcall('XDEL', log, entry_id)
    pcall(forget_entry, ctx, req.to[i], id)
  end
  error(why, 0)
end

-- Parses an entry. `x`: the id at which it expires.
local function read_entry(raw, most_bytes, log)
  local id, fields, event, data = raw[1], raw[2], '', ''
  -- The most frequent case.
  if #fields == 4 and fields[1] == 'e' and fields[3] == 'd' and #fields[4] <= most_bytes then
    return { id = tonumber(id:sub(1, -3)) or tonumber(id:match('^%d+')), event = fields[2], data = fields[4], log = log }
  end
  if fields[1] == 'e' and fields[3] == 'd' then event, data = fields[2], fields[4] end
  -- Not written by us: a stream could not take an entry this large, and would come back for it for ever.
  if #data > most_bytes then event, data = '', '' end
  -- Nearly all ids end in -0.
  local entry = { id = tonumber(id:sub(1, -3)) or tonumber(id:match('^%d+')), event = event, data = data, log = log }
  for i = 5, #fields > 4 and #fields or 0, 2 do
    local name, value = fields[i], fields[i + 1]
    -- Ours have one letter. Whoever may write into a log can name others as what is kept with an entry here.
    if name == 'x' then entry.x = tonumber(value) elseif #name == 1 then entry[name] = value end
  end
  return entry
end
