-- What happens atomically in Redis (7 or later, or Valkey): ids, logs, publishing, membership, history, inbox.
--
-- Every function takes one key, KEYS[1] = the prefix, and derives from it (what ends when in parentheses; HISTORY is
-- history_seconds):
--   <prefix>:clock          the last id given out, in microseconds (never)
--   <prefix>:born           the id at which the history begins (never)
--   <prefix>:config         hash: the limits, and what configure.lua has seen (never)
--   <prefix>:log:<address>  stream, entries <id>-0 {e event, d data; r 1 if it is only replayed, x the id at which it
--                           expires, k key, m 1 if other addresses have it too, o the id in the partition it was copied
--                           from} (HISTORY after its newest entry)
--   <prefix>:trim:<address> the id of the newest entry that was trimmed (HISTORY after it was)
--   <prefix>:keys:<address> sorted set, key -> id of the entry that has it, and notes for counts, see entries.lua
--                           (HISTORY after the newest)
--   <prefix>:gone:<address> sorted set, r, p or x (retracted, replaced, expired) and an id -> the id of when (HISTORY
--                           after the newest)
--   <prefix>:trail:<user>   list of what nodes noted of the user's streams, newest first (HISTORY after the newest)
--   <prefix>:reads:<user>   list of when they read what (the same)
--   <prefix>:receipts       stream of batches {n node, b first id, r receipts}, see why.lua (HISTORY after the newest)
--   <prefix>:written        sorted set, node -> up to which id it has written everything (the same)
--   <prefix>:overlong       set of addresses whose logs a node must trim (a day)
--   <prefix>:groups:<user>  hash, see groups.lua (with groups that the routes joined: never; without: the newest
--                           token's end, or HISTORY after the last visit, whichever is later)
--   <prefix>:inbox:<user>   hash: seen, read, and a mark for each id, see inbox.lua (HISTORY after the last change)
--   <prefix>:idem:<key>, <prefix>:idem-fcall:<key>   the answer to an idempotent publish (24 hours)
--   <prefix>:revoked:<user> "<id of the logout> <newest iat seen>" (30 days, or the longest token life seen)
--   <prefix>:session:<user> "<fence> <tag>" of the one stream that a user may have (24 hours after the last heartbeat)
--   <prefix>:kept:<key>     something that nodes keep for a while: tickets (as long as they say)
--   <prefix>:hits:<key>     a counter of a rate limit (its window)
--   <prefix>:<address>      the Pub/Sub channel of an address
-- Where there are several partitions, directory.lua, outbox.lua and courier.lua name more.
-- Numbers stay below 2^53, so Lua's doubles hold them exactly.

-- During a deploy nodes of two versions share one Redis, which has the newer library: a function that nodes call keeps
-- its arguments and its reply. What must change gets a new name, and the old one stays for a version, in old.lua.
local VERSION = 6
local MAX_UNREAD = 100
local MAX_GROUPS = 1000
local MAX_MARKS = 1000
local SECOND = 1000000
local HOUR = 3600 * SECOND
local DAY_SECONDS = 86400
-- Entries over a log's length that are trimmed at once, so that few publishes pay for it.
local TRIM_STEP = 100
local RESERVED = { sync = 1, ping = 1, replaced = 1, closed = 1, expiring = 1, read = 1, retracted = 1, open = 1, error = 1 }

-- What concerns other partitions: see directory.lua and outbox.lua.
local others = {}

-- A whole number (or the text of one) as text. %d takes a third of the time, where the C beneath Lua has 64 bits for
-- it.
local int
do
  local MOST, whole = 2^53, nil
  function int(n)
    -- Not while it is loaded: then there is no `string` yet.
    whole = whole or (string.format('%d', MOST) == '9007199254740992' and '%d' or '%.0f')
    return string.format(n % 1 == 0 and n + 0 < MOST and whole or '%.0f', n)
  end
end

-- Ends the call, or one question of it, with an error reply.
local function refuse(text) error({ err = text }, 0) end

-- What a call needs to know: time and limits. The limits are read once a second, or a quarter of a publish would be
-- spent on them.
local limits, limits_second = {}, nil
local function open(keys)
  local prefix, time = keys[1], redis.call('TIME')
  if time[1] ~= limits_second then limits, limits_second = {}, time[1] end
  local known = limits[prefix]
  if not known then
    local c = redis.call('HMGET', prefix .. ':config', 'history_length', 'group_history_length', 'history_seconds', 'max_data_bytes', 'token_seconds')
    known = {
      user_length = tonumber(c[1]) or 1000, seconds = tonumber(c[3]) or DAY_SECONDS,
      max_bytes = tonumber(c[4]) or 65536, token_seconds = tonumber(c[5]) or 0
    }
    known.group_length = tonumber(c[2]) or known.user_length
    limits[prefix] = known
  end
  return { prefix = prefix, now = time[1] * SECOND + time[2], limits = known }
end

-- A clock far ahead of the time is right where the time has been there and was set back, and else forged. What
-- `configure` saw each second tells.
local function is_forged(ctx, last)
  local seen = tonumber(redis.call('HGET', ctx.prefix .. ':config', 'clock_seen') or 0) or 0
  return last > seen + HOUR
end

-- Where no clock is found the data was lost (or never was), and history begins at the next id.
local function begin_anew(ctx)
  -- What was known of members within this second is gone, too: see directory.lua.
  ctx.limits.is_whole = false
  local last = math.max(ctx.now - 1, tonumber(redis.call('HGET', ctx.prefix .. ':config', 'clock_seen') or 0) or 0)
  if redis.pcall('SET', ctx.prefix .. ':born', int(last + 1)).err then
    redis.call('SET', ctx.prefix .. ':clock', 'lost')
    refuse('TIDINGS_NOT_READY Redis was emptied; call again when a node has set it up, which takes a second')
  end
  return last
end

-- The time has leapt over all that a history holds (or nobody was there for so long). What partitions know of each
-- other's members may have ended with it, with streams still there; so the history begins anew, nodes say again who is
-- in which group, and clients are told.
local function leapt(ctx, last) return ctx.now > last + (ctx.limits.seconds + DAY_SECONDS / 2) * SECOND and ctx.prefix:find(':{%d+}$') end

-- The first of so many ids: now, or one more than the last.
local function reserve(ctx, count)
  local key, last = ctx.prefix .. ':clock', ctx.last
  if not last then
    local counted = redis.pcall('INCRBY', key, count)
    if type(counted) == 'number' then
      if counted - count >= ctx.now and counted <= ctx.now + HOUR then
        ctx.last = counted
        return counted - count + 1
      end
      -- One that was never set, or is far ahead where the time has not been, is no clock of ours.
      last = counted - count
      if last < 1 or (last > ctx.now + HOUR and is_forged(ctx, last)) then last = nil end
    end
    if not last then last = begin_anew(ctx)
    elseif ctx.now > last + HOUR / 2 then
      if leapt(ctx, last) then redis.pcall('SET', ctx.prefix .. ':born', int(ctx.now)) end
      -- A leap of the time is kept, to be told from a forged clock.
      redis.pcall('HSET', ctx.prefix .. ':config', 'clock_seen', int(ctx.now))
    end
  end
  local first = math.max(ctx.now, last + 1)
  ctx.last = first + count - 1
  redis.call('SET', key, int(ctx.last))
  return first
end

local function next_id(ctx) return reserve(ctx, 1) end

-- When a key ends, in seconds since 1970, that is written at an id: by the clock of ids, which a step of Redis's own
-- does not set back.
local function end_of(id, seconds) return math.floor(id / SECOND) + seconds + 1 end

-- How many arguments follow, which must all be there: a count may be anything that a caller wrote.
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
  -- What is well-formed (Unicode, table 3-7), with more than one byte.
  local MORE = '[\128-\191]'
  local SEQUENCES = {
    '[\194-\223]' .. MORE, '\224[\160-\191]' .. MORE, '[\225-\236\238\239]' .. MORE .. MORE, '\237[\128-\159]' .. MORE,
    '\240[\144-\191]' .. MORE .. MORE, '[\241-\243]' .. MORE .. MORE .. MORE, '\244[\128-\143]' .. MORE .. MORE
  }

  function is_utf8(text)
    -- Most texts are ASCII, and one match over all of it takes a third of a search.
    if text:find('^[^\128-\255]*$') then return true end
    for run in text:gmatch('[\128-\255]+') do
      -- Most often it is one letter of two bytes.
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

  -- Whether a control character may stand in a string of something without backslashes, of which the number of strings
  -- is known. (One may also stand between them, where a line break is white space.) A pattern that looks at each
  -- character costs more than the publish itself; cjson's encoder, which would write such a character longer, does not.
  local function may_have_control(data, strings)
    local slashes = data:find('/', 1, true) and select(2, data:gsub('/', '/')) or 0
    return #cjson.encode(data) ~= #data + 2 + 2 * strings + slashes
  end

  -- Strict JSON (RFC 8259). cjson checks the structure; it is lax about numbers, control characters and words, and
  -- refuses lone surrogates, which JSON allows: those are looked at here. What passes here passes JSON.parse on every
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
      -- What is left without its strings.
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
