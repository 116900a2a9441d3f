-- The function library: all atomic operations in Redis (7 or later, or Valkey). This part: names, limits, ids, checks.
--
-- Every function takes one key, KEYS[1] = the prefix, and derives its keys from it (when each expires in parentheses;
-- HISTORY is history_seconds):
--   <prefix>:clock          the last id given out, in microseconds (never)
--   <prefix>:born           the id at which the history begins (never)
--   <prefix>:config         hash: the limits, and what configure.lua has observed (never)
--   <prefix>:log:<address>  stream, entries <id>-0 {e event, d data; r 1 if it is only replayed, x the id at which it
--                           expires, k key, m 1 if other addresses have it too, o the id in the partition it was copied
--                           from} (HISTORY after its newest entry)
--   <prefix>:trim:<address> the id of the newest trimmed entry (HISTORY after the trim)
--   <prefix>:keys:<address> sorted set, key -> id of the entry that has it, and notes for counts, see entries.lua
--                           (HISTORY after the newest)
--   <prefix>:gone:<address> sorted set, r, p or x (retracted, replaced, expired) followed by an id -> the id at which
--                           that happened (HISTORY after the newest)
--   <prefix>:trail:<user>   list of nodes' records about the user's streams, newest first (HISTORY after the newest)
--   <prefix>:reads:<user>   list of records about the user's reads (the same)
--   <prefix>:receipts       stream of batches {n node, b first id, r receipts}, see why.lua (HISTORY after the newest)
--   <prefix>:written        sorted set, node -> up to which id it has written everything (the same)
--   <prefix>:overlong       set of addresses whose logs a node must trim (a day)
--   <prefix>:groups:<user>  hash, see groups.lua (with groups joined through the API: never; without: HISTORY after the
--                           last visit or token; with groups that were left at least a day, or the longest token life)
--   <prefix>:inbox:<user>   hash: seen, read, and a mark for each id, see inbox.lua (HISTORY after the last change)
--   <prefix>:idem:<key>, <prefix>:idem-fcall:<key>   the answer to an idempotent publish (24 hours)
--   <prefix>:revoked:<user> "<id of the logout> <newest iat seen>" (30 days, or the longest token life seen)
--   <prefix>:session:<user> "<fence> <tag> <visit>" of the one stream that a user may have (24 hours after a heartbeat)
--   <prefix>:kept:<key>     a value of the nodes, such as a ticket (as long as the node says)
--   <prefix>:hits:<key>     a counter of a rate limit (its window)
--   <prefix>:<address>      the Pub/Sub channel of an address
-- With several partitions there are more, see copies.lua, courier.lua, directory.lua, outbox.lua.
-- Numbers stay below 2^53, so Lua's doubles hold them exactly.

-- During a deploy, nodes of two versions share one Redis, which has the newer library. So a function that nodes call
-- at most appends to its arguments or reply. A changed function gets a new name, and the old one stays for one
-- version, in old.lua.
local VERSION = 7
local MAX_UNREAD = 100
local MAX_GROUPS = 1000
local MAX_MARKS = 1000
local SECOND = 1000000
local HOUR = 3600 * SECOND
local DAY_SECONDS = 86400
-- How many entries a log exceeds its length by before it is trimmed, so that few publishes pay for trimming.
local TRIM_STEP = 100
local RESERVED = { sync = 1, ping = 1, replaced = 1, closed = 1, expiring = 1, read = 1, retracted = 1, open = 1, error = 1 }

-- Functions that concern other partitions, see directory.lua and outbox.lua.
local others = {}

-- A whole number (or its text) as text. %d takes a third of the time, but is exact only if C's integers have 64 bits.
local int
do
  local MOST, whole = 2^53, nil
  function int(n)
    -- Not at load time, when `string` is not there yet.
    whole = whole or (string.format('%d', MOST) == '9007199254740992' and '%d' or '%.0f')
    return string.format(n % 1 == 0 and n + 0 < MOST and whole or '%.0f', n)
  end
end

-- Ends the call, or one request in it, with an error reply.
local function refuse(text) error({ err = text }, 0) end

-- Starts a call: its time and limits. Limits are read once a second, since reading them took a quarter of a publish.
local limits, limits_second = {}, nil
local function open(keys)
  local prefix, time = keys[1], redis.call('TIME')
  if time[1] ~= limits_second then limits, limits_second = {}, time[1] end
  local known = limits[prefix]
  if not known then
    local c = redis.call('HMGET', prefix .. ':config', 'history_length', 'group_history_length', 'history_seconds', 'max_data_bytes',
      'token_seconds', 'partition')
    known = {
      user_length = tonumber(c[1]) or 1000, group_length = tonumber(c[2] or c[1]) or 1000, seconds = tonumber(c[3]) or DAY_SECONDS,
      max_bytes = tonumber(c[4]) or 65536, token_seconds = tonumber(c[5]) or 0, is_none = c[6] == '' or c[6] == 'none'
    }; limits[prefix] = known
  end
  return { prefix = prefix, now = time[1] * SECOND + time[2], limits = known }
end

-- Whether a clock far ahead of the time was forged. It is genuine if the time was there once and was set back, which
-- `configure` recorded each second.
local function is_forged(ctx, last)
  local seen = tonumber(redis.call('HGET', ctx.prefix .. ':config', 'clock_seen') or 0) or 0
  return last > seen + HOUR
end

-- Without a clock the data was lost, or never was. The history begins at the next id.
local function begin_anew(ctx)
  -- What was cached about members is lost too, see directory.lua.
  ctx.limits.is_whole = false
  local last = math.max(ctx.now - 1, tonumber(redis.call('HGET', ctx.prefix .. ':config', 'clock_seen') or 0) or 0)
  if redis.pcall('SET', ctx.prefix .. ':born', int(last + 1)).err then
    redis.call('SET', ctx.prefix .. ':clock', 'lost')
    refuse('TIDINGS_NOT_READY Redis was emptied; call again when a node has set it up, which takes a second')
  end
  return last
end

-- The time has leapt by more than a whole history, or no node ran for that long. Records of users and what partitions
-- know of members may have expired while streams are open. So the history begins anew: clients are told.
local LEAP_SECONDS = 1800
local function leapt(ctx, last) return ctx.now > last + (ctx.limits.seconds + LEAP_SECONDS) * SECOND end

-- Reserves `count` ids and returns the first: the time, or one more than the last id.
local function reserve(ctx, count)
  if ctx.limits.is_none then others.refuse_none(ctx) end
  local key, last = ctx.prefix .. ':clock', ctx.last
  if not last then
    local counted = redis.pcall('INCRBY', key, count)
    if type(counted) == 'number' then
      if counted - count >= ctx.now and counted <= ctx.now + HOUR then
        others.gives(ctx, counted - count, counted)
        return counted - count + 1
      end
      -- A clock that was not set, or is far ahead of any time that was seen, is not ours.
      last = counted - count
      if last < 1 or (last > ctx.now + HOUR and is_forged(ctx, last)) then last = nil end
    -- Whoever may not ask the clock must not take it for lost.
    elseif others.lacks_right(counted.err) then error(counted, 0) end
    if not last then last = begin_anew(ctx)
    elseif ctx.now > last + LEAP_SECONDS * SECOND then
      if leapt(ctx, last) then redis.pcall('SET', ctx.prefix .. ':born', int(ctx.now)) end
      -- Records the leap, so that it is not taken for a forged clock.
      redis.pcall('HSET', ctx.prefix .. ':config', 'clock_seen', int(ctx.now))
    end
  end
  local first = math.max(ctx.now, last + 1)
  others.gives(ctx, last, first + count - 1)
  redis.call('SET', key, int(ctx.last))
  return first
end

local function next_id(ctx) return reserve(ctx, 1) end

-- When a key that is written at an id expires, in seconds since 1970. By the clock of ids, which never goes back, even
-- if Redis's own clock does.
local function end_of(id, seconds) return math.floor(id / SECOND) + seconds + 1 end

-- Reads a count of following arguments and checks that they are all there, since callers may send anything.
local function count_at(args, at, follow)
  local count = tonumber(args[at])
  if not count or count < 0 or count % 1 ~= 0 or at + (follow or 0) + count > #args then
    refuse('TIDINGS_BAD_REQUEST Argument ' .. at .. ' must be the number of arguments that follow')
  end
  return count
end

-- 1 to 128 code points of UTF-8, no control character (U+0000 to U+001F, U+007F to U+009F).
local is_name, is_utf8
do
  -- Well-formed sequences of more than one byte (Unicode, table 3-7).
  local MORE = '[\128-\191]'
  local SEQUENCES = {
    '[\194-\223]' .. MORE, '\224[\160-\191]' .. MORE, '[\225-\236\238\239]' .. MORE .. MORE, '\237[\128-\159]' .. MORE,
    '\240[\144-\191]' .. MORE .. MORE, '[\241-\243]' .. MORE .. MORE .. MORE, '\244[\128-\143]' .. MORE .. MORE
  }

  function is_utf8(text)
    -- Most texts are ASCII, and one match over the whole text takes a third of the time of a search.
    if text:find('^[^\128-\255]*$') then return true end
    for run in text:gmatch('[\128-\255]+') do
      -- The most frequent case: one letter of two bytes.
      if #run ~= 2 or not run:find('^[\194-\223][\128-\191]') then
        for _, sequence in ipairs(SEQUENCES) do run = run:gsub(sequence, ' ') end
        if run:find('[\128-\255]') then return false end
      end
    end
    return true
  end

  function is_name(name)
    if #name <= 128 and name:find('^[%w._-]+$') then return true end
    if #name == 0 or #name > 512 or name:find('[%z\1-\31\127]') or name:find('\194[\128-\159]') then return false end
    local _, continuation = name:gsub('[\128-\191]', '')
    return #name - continuation <= 128 and is_utf8(name)
  end
end

local function address_fault(address)
  if address == 'all' then return nil end
  local name = address:match('^user:(.*)$') or address:match('^group:(.*)$')
  if name and is_name(name) then return nil end
  return 'TIDINGS_BAD_ADDRESS Use user:<userId>, group:<name> or all; ids and names have 1 to 128 characters and no control characters'
end

local function event_fault(event)
  if event == 'message' then return nil end
  if RESERVED[event] then return 'TIDINGS_RESERVED_EVENT The event name "' .. event .. '" is reserved for the stream itself; choose another' end
  if #event > 64 or not event:find('^[%w._-]+$') then return 'TIDINGS_BAD_EVENT Use 1 to 64 of A-Z a-z 0-9 . _ -' end
end

local json_fault
do
  local function is_number(token)
    if token:find('^%-?[1-9]%d*$') then return true end
    local rest = token:gsub('^%-', '', 1)
    if rest:find('^0') then rest = rest:sub(2) else
      local digits = rest:match('^%d+')
      if not digits then return false end
      rest = rest:sub(#digits + 1)
    end
    rest = rest:gsub('^%.%d+', '', 1)
    rest = rest:gsub('^[eE][+-]?%d+', '', 1)
    return rest == ''
  end

  -- Whether a control character may be within a string of `data`, which has no backslashes and `strings` strings. (Line
  -- breaks between strings are white space.) cjson's encoder makes such characters longer, which shows them. A pattern
  -- that visits each character would cost more than the publish itself.
  local function may_have_control(data, strings)
    local slashes = data:find('/', 1, true) and select(2, data:gsub('/', '/')) or 0
    return #cjson.encode(data) ~= #data + 2 + 2 * strings + slashes
  end

  -- Checks strict JSON (RFC 8259). cjson checks the structure, but is lax about numbers, control characters and words,
  -- and refuses lone surrogates, which JSON allows; these are checked here. What passes here passes JSON.parse on every
  -- node.
  function json_fault(data, max_bytes)
    if #data > max_bytes then
      return 'TIDINGS_DATA_TOO_LARGE data has ' .. #data .. ' bytes, more than MAX_DATA_BYTES (' .. int(max_bytes) .. ')'
    end
    if not is_utf8(data) then return 'TIDINGS_BAD_JSON data is not valid JSON: it is not in UTF-8' end
    local probe, has_escapes = data, data:find('\\', 1, true)
    if has_escapes and data:find('\\u[dD][89a-fA-F]') then probe = data:gsub('\\u[dD][89a-fA-F]%x%x', '\\u0041') end
    local ok, why = pcall(cjson.decode, probe)
    if ok then
      -- The text without its strings.
      local rest, strings = probe, 0
      if has_escapes then rest = probe:gsub('\\.', '') else rest, strings = probe:gsub('"[^"]*"', ' ') end
      if has_escapes or may_have_control(data, strings) then
        rest = (has_escapes and rest or probe):gsub('"[^"%z\1-\31]*"', ' ')
        ok, why = not rest:find('["%z\1-\8\11\12\14-\31]'), 'a control character stands unescaped'
      end
      if ok then
        for token in rest:gmatch('[%w.+-]+') do
          if token ~= 'true' and token ~= 'false' and token ~= 'null' and not is_number(token) then
            ok, why = false, 'not a JSON value: ' .. token:sub(1, 32)
            break
          end
        end
      end
    end
    if not ok then
      why = tostring(why)
      if why:find('too many nested') then return 'TIDINGS_DATA_TOO_DEEP data nests deeper than 1000 levels' end
      return 'TIDINGS_BAD_JSON data is not valid JSON: ' .. why:gsub('[%c]', '?')
    end
  end
end
