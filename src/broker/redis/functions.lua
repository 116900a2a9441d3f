#!lua name=tidings
-- What happens atomically in Redis (7 or later, or Valkey): ids, logs, publishing, membership, history.
--
-- Every function takes one key, KEYS[1] = the prefix, and derives from it:
--   <prefix>:clock          the last id given out (microseconds)
--   <prefix>:born           the id at which the history begins
--   <prefix>:config         hash: history_length, history_seconds, max_data_bytes; run_id, run_clock and kept_since, see setup
--   <prefix>:log:<address>  stream, entries <id>-0 {e: event, d: data}
--   <prefix>:groups:<user>  hash, group -> "+<id>" joined or "-<id>" left
--   <prefix>:read:<user>    the id up to which the user has read
--   <prefix>:idem:<key>     the answer to an idempotent publish, for 24 hours
--   <prefix>:revoked:<user> the id of the last logout: tokens issued up to then are refused
--   <prefix>:session:<user> "<fence> <tag>" of the one stream that a user may have (SESSION_POLICY=single)
--   <prefix>:kept:<key>     something kept for a while: tickets; gap:<user>, see resume
--   <prefix>:hits:<key>     a counter of a rate limit
--   <prefix>:<address>      the Pub/Sub channel of an address
-- Numbers stay below 2^53, so Lua's doubles hold them exactly.

-- During a deploy nodes of two versions share one Redis, which has the newer library: a function that nodes call keeps its arguments and its
-- reply. What must change gets a new name, and the old one stays for a version.
local VERSION = 5
local MAX_UNREAD = 100
local MAX_GROUPS = 1000
-- Entries that are read of a log for one page, and what it costs to look at a log, in bytes read: more or less.
local MAX_READ = 256
local LOG_WORK = 256
local IDEMPOTENT_SECONDS = 86400
-- Renewed at every heartbeat of its stream.
local SESSION_SECONDS = 86400
local RESERVED = { sync = 1, ping = 1, replaced = 1, closed = 1, expiring = 1, read = 1, open = 1, error = 1 }

local function int(n) return string.format('%.0f', n) end

local function config(prefix)
  local c = redis.call('HMGET', prefix .. ':config', 'history_length', 'history_seconds', 'max_data_bytes')
  return tonumber(c[1] or 1000), tonumber(c[2] or 86400), tonumber(c[3] or 65536)
end

-- The next id: now, or one more than the last. Where no clock is found the data was lost (or never was), and history begins here.
local function next_id(prefix)
  local time = redis.call('TIME')
  local id = time[1] * 1000000 + time[2]
  local last = redis.call('GET', prefix .. ':clock')
  if last then
    last = tonumber(last)
    if id <= last then id = last + 1 end
  else
    redis.call('SET', prefix .. ':born', int(id))
  end
  redis.call('SET', prefix .. ':clock', int(id))
  return id
end

-- 1 to 128 code points, no control character (U+0000 to U+001F, U+007F to U+009F).
local function is_name(name)
  if #name <= 128 and name:find('^[%w._-]+$') then return true end
  if #name == 0 or #name > 512 or name:find('[%z\1-\31\127]') or name:find('\194[\128-\159]') then return false end
  local _, continuation = name:gsub('[\128-\191]', '')
  return #name - continuation <= 128
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

-- Whether a control character may stand in a string of something without backslashes, of which the number of strings is known. (One may also
-- stand between them, where a line break is white space.) A pattern that looks at each character costs more than the publish itself; cjson's
-- encoder, which would write such a character longer, does not.
local function may_have_control(data, strings)
  local slashes = data:find('/', 1, true) and select(2, data:gsub('/', '/')) or 0
  return #cjson.encode(data) ~= #data + 2 + 2 * strings + slashes
end

-- Strict JSON (RFC 8259). cjson checks the structure; it is lax about numbers, control characters and words, and refuses lone
-- surrogates, which JSON allows: those are looked at here. What passes here passes JSON.parse on every node.
local function json_fault(data, max_bytes)
  if #data > max_bytes then
    return 'TIDINGS_DATA_TOO_LARGE data has ' .. #data .. ' bytes, more than MAX_DATA_BYTES (' .. int(max_bytes) .. ')'
  end
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

-- Id, log, channel: one notification to one address. Returns the id and the number of nodes that took it.
local function deliver(prefix, address, event, data, length, seconds)
  local id = int(next_id(prefix))
  local log = prefix .. ':log:' .. address
  redis.call('XADD', log, 'MAXLEN', '~', length, id .. '-0', 'e', event, 'd', data)
  redis.call('EXPIRE', log, seconds)
  return id, redis.call('PUBLISH', prefix .. ':' .. address, '{"tidings":1,"id":' .. id .. ',"event":"' .. event .. '","data":' .. data .. '}')
end

-- FCALL tidings_publish 1 <prefix> <address> <event> <data, JSON>
-- Reply: [id, nodes that took it]. Error: "TIDINGS_… what to do"; then nothing was stored.
local function publish(keys, args)
  if #keys ~= 1 or #args ~= 3 then
    return redis.error_reply('TIDINGS_BAD_REQUEST Call it so: FCALL tidings_publish 1 <prefix> <address> <event> <data as JSON>')
  end
  local length, seconds, max_bytes = config(keys[1])
  local fault = address_fault(args[1]) or event_fault(args[2]) or json_fault(args[3], max_bytes)
  if fault then return redis.error_reply(fault) end
  local id, receivers = deliver(keys[1], args[1], args[2], args[3], length, seconds)
  return { id, receivers }
end

-- Tokens issued before a logout are refused. A token that does not say when it was issued counts as older.
local function is_revoked(prefix, user, issued_seconds)
  local logout = redis.call('GET', prefix .. ':revoked:' .. user)
  return logout and tonumber(issued_seconds) * 1000000 <= tonumber(logout)
end

local REVOKED = 'TIDINGS_TOKEN_REVOKED The user has logged out since this token was issued'

-- Answers one of many who ask in the same call. What fails for one, a key that is stuck, fails for that one alone: ['error', why].
local function alone(answer, ...)
  local ok, result = pcall(answer, ...)
  if ok then return result end
  return { 'error', type(result) == 'table' and result.err or tostring(result) }
end

local function publish_one(prefix, length, seconds, args, at)
  local key, publisher, issued_seconds, event, data = args[at], args[at + 1], args[at + 2], args[at + 3], args[at + 4]
  if is_revoked(prefix, publisher, issued_seconds) then return { 'error', REVOKED } end
  local answer_key = prefix .. ':idem:' .. key
  if key ~= '' then
    local answer = redis.call('GET', answer_key)
    if answer then return { 1, unpack(cmsgpack.unpack(answer)) } end
  end
  local answer = {}
  for i = at + 6, at + 5 + args[at + 5] do
    local id, receivers = deliver(prefix, args[i], event, data, length, seconds)
    answer[#answer + 1] = args[i]
    answer[#answer + 1] = id
    answer[#answer + 1] = receivers
  end
  if key ~= '' then redis.call('SET', answer_key, cmsgpack.pack(answer), 'EX', IDEMPOTENT_SECONDS) end
  return { 0, unpack(answer) }
end

-- For nodes, which have checked everything. ARGV, for each request: idempotency key or '', publisher, their token's iat, event, data, how many
-- addresses, address…
-- Reply: for each [1 if an earlier call with this key has published, else 0, (address, id, nodes)…]
local function publish_requests(keys, args)
  local length, seconds = config(keys[1])
  local reply, at = {}, 1
  while args[at] do
    reply[#reply + 1] = alone(publish_one, keys[1], length, seconds, args, at)
    at = at + 6 + args[at + 5]
  end
  return reply
end

-- Tells every node that has a stream of the user; `subject` is a group, or the tag of a session.
local function tell(prefix, user, control, id, subject)
  redis.call('PUBLISH', prefix .. ':user:' .. user, cjson.encode({ control = control, subject = subject, id = int(id) }))
end

-- group -> "+id" or "-id", and the number of those joined
local function read_groups(prefix, user)
  local flat, groups, joined = redis.call('HGETALL', prefix .. ':groups:' .. user), {}, 0
  for i = 1, #flat, 2 do
    groups[flat[i]] = flat[i + 1]
    if flat[i + 1]:sub(1, 1) == '+' then joined = joined + 1 end
  end
  return groups, joined
end

local function mark(prefix, user, group, joined)
  local id = next_id(prefix)
  redis.call('HSET', prefix .. ':groups:' .. user, group, (joined and '+' or '-') .. int(id))
  tell(prefix, user, joined and 'join' or 'leave', id, group)
  return id
end

local function too_many()
  return redis.error_reply('TIDINGS_TOO_MANY_GROUPS A user may be in at most ' .. MAX_GROUPS .. ' groups')
end

-- Joins what a token claims, except what was left since. Of the claim as many as MAX_GROUPS allows: an error here would lock the user out;
-- `sync` tells which groups they are in. Results: [group, id at which it was joined, …]; whether any was joined now.
local function enter(prefix, user, issued_seconds, claimed, from, to)
  local groups, joined = read_groups(prefix, user)
  local marked = false
  for i = from, to do
    local group, was = claimed[i], groups[claimed[i]]
    if joined < MAX_GROUPS and (not was or (was:sub(1, 1) == '-' and tonumber(was:sub(2)) < issued_seconds * 1000000)) then
      joined = joined + 1
      groups[group] = '+' .. int(mark(prefix, user, group, true))
      marked = true
    end
  end
  local membership = {}
  for group, was in pairs(groups) do
    if was:sub(1, 1) == '+' then
      membership[#membership + 1] = group
      membership[#membership + 1] = was:sub(2)
    end
  end
  return membership, marked
end

-- ARGV: user.   Reply: [group, id at which it was joined, …]
local function groups(keys, args)
  return (enter(keys[1], args[1], 0, args, 1, 0))
end

-- ARGV: user, group
local function join(keys, args)
  local groups, joined = read_groups(keys[1], args[1])
  local was = groups[args[2]]
  if was and was:sub(1, 1) == '+' then return 0 end
  if joined >= MAX_GROUPS then return too_many() end
  mark(keys[1], args[1], args[2], true)
  return 1
end

-- ARGV: user, group. The mark stays, also for a group never joined: a token that claims it must not bring it back.
local function leave(keys, args)
  mark(keys[1], args[1], args[2], false)
  return 1
end

-- ARGV: user, group…
local function replace_groups(keys, args)
  local prefix, user, wanted, count = keys[1], args[1], {}, 0
  local groups = read_groups(prefix, user)
  for i = 2, #args do
    if not wanted[args[i]] then count = count + 1 end
    wanted[args[i]] = true
  end
  if count > MAX_GROUPS then return too_many() end
  for group, was in pairs(groups) do
    if not wanted[group] and was:sub(1, 1) == '+' then mark(prefix, user, group, false) end
  end
  for i = 2, #args do
    local was = groups[args[i]]
    if not was or was:sub(1, 1) == '-' then
      groups[args[i]] = '+' .. int(mark(prefix, user, args[i], true))
    end
  end
  return #args - 1
end

-- ARGV: user. Every stream of the user ends for good, and so do the tokens issued up to now.
local function logout(keys, args)
  local id = next_id(keys[1])
  redis.call('SET', keys[1] .. ':revoked:' .. args[1], int(id))
  tell(keys[1], args[1], 'logout', id)
  return int(id)
end

-- The session of a user: the fence (an id; cursors below it belong to tabs that were replaced) and the tag of the stream that holds it.
local function read_session(prefix, user)
  local value = redis.call('GET', prefix .. ':session:' .. user)
  if not value then return nil end
  local fence, tag = value:match('^(%d+) (.*)$')
  return tonumber(fence), tag
end

-- Counts in a window that begins with its first hit.
local function count(key, window_ms, hits)
  local counted = redis.call('INCRBY', key, hits)
  if counted == tonumber(hits) then redis.call('PEXPIRE', key, window_ms) end
  return counted
end

local function admit_one(prefix, window_ms, args, at)
  local user, issued_seconds, cursor = args[at], args[at + 1], tonumber(args[at + 2])
  local answer = { 'admitted' }
  for i = at + 4, at + 3 + args[at + 3] do answer[#answer + 1] = count(prefix .. ':hits:' .. args[i], window_ms, 1) end
  if is_revoked(prefix, user, issued_seconds) then
    answer[1] = 'revoked'
  elseif cursor then
    local fence = read_session(prefix, user)
    if fence and cursor < fence then answer[1] = 'replaced' end
  end
  return answer
end

-- ARGV: window in ms, then for each visitor: user, the token's iat, cursor or '' (many streams are allowed), how many counters, counter…
-- Reply: for each ['admitted', 'revoked' or 'replaced', hits of each counter in its window…]
local function admit(keys, args)
  local reply, at = {}, 2
  while args[at] do
    reply[#reply + 1] = alone(admit_one, keys[1], args[1], args, at)
    at = at + 4 + args[at + 3]
  end
  return reply
end

-- ARGV: user, the stream's tag, cursor or ''.   Reply: [1 if it holds the session now, else 0, the claim's id, the fence]
-- A fresh stream takes over and raises the fence. One that resumes from behind the fence was replaced while it was away; from beyond it,
-- it is the holder itself, and the fence stays: the next reconnect may come before it has seen a newer id.
local function claim(keys, args)
  local prefix, user, tag, cursor = keys[1], args[1], args[2], tonumber(args[3])
  local id = next_id(prefix)
  if cursor and cursor > id then cursor = nil end
  local fence = read_session(prefix, user)
  if fence and cursor and cursor < fence then return { 0, int(id), int(fence) } end
  if not cursor then fence = id elseif not fence then fence = cursor end
  redis.call('SET', prefix .. ':session:' .. user, int(fence) .. ' ' .. tag, 'EX', SESSION_SECONDS)
  tell(prefix, user, 'takeover', id, tag)
  return { 1, int(id), int(fence) }
end

-- ARGV: (user, tag, fence)…   Reply: the tags that hold their session no more. One whose session has expired, or was lost, has it again.
local function verify(keys, args)
  local lost = {}
  for i = 1, #args, 3 do
    local _, tag = read_session(keys[1], args[i])
    if tag and tag ~= args[i + 1] then lost[#lost + 1] = args[i + 1] else
      redis.call('SET', keys[1] .. ':session:' .. args[i], args[i + 2] .. ' ' .. args[i + 1], 'EX', SESSION_SECONDS)
    end
  end
  return lost
end

-- ARGV: key, window in ms, hits.   Reply: [hits in the window, ms that it still lasts]
local function hit(keys, args)
  local key = keys[1] .. ':hits:' .. args[1]
  return { count(key, args[2], args[3]), math.max(0, redis.call('PTTL', key)) }
end

-- A log as one call sees it. Many who come back in the same moment are in the same groups: each piece is read once for all of them.
local function open_log(call, address)
  local log = call.logs[address]
  if not log then
    log = { key = call.prefix .. ':log:' .. address }
    log.first = redis.call('XRANGE', log.key, '-', '+', 'COUNT', 1)[1]
    log.first = log.first and tonumber(log.first[1]:match('^%d+'))
    call.logs[address] = log
    call.work = call.work + LOG_WORK
  end
  return log
end

local function read_entries(call, log, after, limit)
  local chunk = redis.call('XRANGE', log.key, '(' .. int(after) .. '-0', '+', 'COUNT', limit)
  for i, entry in ipairs(chunk) do
    chunk[i] = { id = tonumber(entry[1]:match('^%d+')), event = entry[2][2] or '', data = entry[2][4] or '' }
    call.work = call.work + #chunk[i].data
  end
  return chunk
end

-- How many of its entries stand after an id, counted up to a limit. Who has read nothing, or joined before the log begins, costs no read.
local function count_after(call, log, after, limit)
  if not log.first then return 0 end
  if log.first <= after then return #read_entries(call, log, after, limit) end
  log.length = log.length or redis.call('XLEN', log.key)
  return math.min(limit, log.length)
end

-- Whether entries after an id were trimmed away.
local function is_trimmed(log, after)
  if not log.first or log.first <= after then return false end
  if log.trimmed == nil then
    local info, fields = redis.call('XINFO', 'STREAM', log.key), {}
    for i = 1, #info, 2 do fields[info[i]] = info[i + 1] end
    log.trimmed = fields['entries-added'] > fields['length']
  end
  return log.trimmed
end

-- What it holds after an id, oldest first, until its data exceeds a budget. What was read for somebody else is gone on from. Reads in growing
-- steps: large entries must not be read in hundreds to return a few, nor small ones one by one. Second result: whether there is more.
local function read_log(call, log, after, budget)
  if not log.first then return {}, false end
  local is_apart = not log.after or after < log.after or (log.more and after > log.read_to)
  if is_apart then log.after, log.read_to, log.entries, log.more = after, after, {}, true end
  local found, bytes, step = {}, 0, 1
  for _, entry in ipairs(log.entries) do
    if entry.id > after then
      if bytes >= budget or #found >= MAX_READ then return found, true end
      found[#found + 1] = entry
      bytes = bytes + #entry.data
    end
  end
  while log.more and bytes < budget and #found < MAX_READ do
    local chunk = read_entries(call, log, log.read_to, step)
    for _, entry in ipairs(chunk) do
      log.entries[#log.entries + 1] = entry
      log.read_to = entry.id
      if entry.id > after then
        found[#found + 1] = entry
        bytes = bytes + #entry.data
      end
    end
    log.more = #chunk == step
    step = step * 2
  end
  return found, log.more
end

-- Where an entry stands in the reply, counted from 0: what many are owed stands there once.
local function shared(call, entry)
  if not entry.place then
    entry.place = #call.shared / 3
    for _, field in ipairs { int(entry.id), entry.event, entry.data } do call.shared[#call.shared + 1] = field end
  end
  return entry.place
end

local function resume_one(call, args, at)
  local prefix, user, issued_seconds, cursor = call.prefix, args[at], tonumber(args[at + 1]), tonumber(args[at + 2])
  if is_revoked(prefix, user, issued_seconds) then return { 'error', REVOKED } end
  local membership, marked = enter(prefix, user, issued_seconds, args, at + 4, at + 3 + args[at + 3])
  if marked then call.position = next_id(prefix) end
  local position = call.position

  local logs = { { open_log(call, 'user:' .. user), 0 }, { open_log(call, 'all'), 0 } }
  for i = 1, #membership, 2 do logs[#logs + 1] = { open_log(call, 'group:' .. membership[i]), tonumber(membership[i + 1]) } end
  call.work = call.work + #logs * LOG_WORK
  local function unread()
    local read, total = tonumber(redis.call('GET', prefix .. ':read:' .. user) or 0), 0
    for _, log in ipairs(logs) do
      if total < MAX_UNREAD then total = total + count_after(call, log[1], math.max(read, log[2]), MAX_UNREAD - total) end
    end
    return total
  end
  if not cursor then return { int(position), 0, 0, unread(), membership, {} } end
  if cursor > position then return { int(position), 1, 0, unread(), membership, {} } end

  local gap = cursor < call.born or cursor < call.kept_since or cursor < position - call.seconds * 1000000
  -- A stream was cut off before it was told of a gap: whoever resumes from what it had got behind the gap must hear of it now.
  local from, to = (redis.call('GET', prefix .. ':kept:gap:' .. user) or ''):match('^(%d+) (%d+)$')
  if from and cursor > tonumber(from) and cursor <= tonumber(to) then gap = true end

  -- Up to `cut` every log has been read; what was found beyond it comes with the next page.
  local entries, sources, cut = {}, 0, nil
  for _, log in ipairs(logs) do
    local after = math.max(cursor, log[2])
    local found, more = read_log(call, log[1], after, call.page_bytes / #logs)
    if #found > 0 then sources = sources + 1 end
    for _, entry in ipairs(found) do entries[#entries + 1] = entry end
    if more then cut = math.min(cut or math.huge, found[#found].id) end
    gap = gap or (#found > 0 and is_trimmed(log[1], after))
  end
  if sources > 1 then table.sort(entries, function(a, b) return a.id < b.id end) end

  local places, bytes, more = {}, 0, cut ~= nil
  for i, entry in ipairs(entries) do
    bytes = bytes + #entry.data
    if (cut and entry.id > cut) or (i > 1 and bytes > call.page_bytes) then
      more = true
      break
    end
    places[i] = shared(call, entry)
  end
  if more then position = entries[#places].id end
  return { int(position), gap and 1 or 0, more and 1 or 0, more and 0 or unread(), membership, places }
end

-- ARGV: bytes of data that a page may have, and that the call may read; then for each who resumes: user, the token's iat, cursor or '' (fresh),
-- how many groups the token claims, group…
-- Reply: [[id, event, data, …], for each: [position, 1 if something may be missing, 1 if the page is full, unread, [group, id at which it was
-- joined, …], [places of its entries in the list, oldest first]]]. Those who are left when the call has done its work are to be asked for again.
local function resume(keys, args)
  local _, seconds = config(keys[1])
  local call = { prefix = keys[1], position = next_id(keys[1]), seconds = seconds, page_bytes = tonumber(args[1]), logs = {}, shared = {}, work = 0 }
  call.born = tonumber(redis.call('GET', keys[1] .. ':born') or call.position)
  call.kept_since = tonumber(redis.call('HGET', keys[1] .. ':config', 'kept_since') or 0)
  local reply, at = { call.shared }, 3
  while args[at] and call.work < tonumber(args[2]) do
    reply[#reply + 1] = alone(resume_one, call, args, at)
    at = at + 4 + args[at + 3]
  end
  return reply
end

-- ARGV: history_length, history_seconds, max_data_bytes, the run id of this Redis process, the newest id that the node was answered by another
-- one before, 1 if the settings stand although there are some (0: only if they were lost).   Reply: [version, born]
-- A process that began with a clock behind such an id has lost what was acknowledged (a failover, a crash between two writes to disk). What,
-- nobody knows: so the history begins anew, and every older position is told.
local function setup(keys, args)
  local config_key = keys[1] .. ':config'
  local clock = redis.call('GET', keys[1] .. ':clock') or next_id(keys[1])
  if args[6] ~= '0' or redis.call('EXISTS', config_key) == 0 then
    -- Logs expired under the shorter time until now: a longer one does not bring them back.
    local old = tonumber(redis.call('HGET', config_key, 'history_seconds') or args[2])
    if tonumber(args[2]) > old then redis.call('HSET', config_key, 'kept_since', int(next_id(keys[1]) - old * 1000000)) end
    redis.call('HSET', config_key, 'history_length', args[1], 'history_seconds', args[2], 'max_data_bytes', args[3])
  end
  if args[5] then
    local run = redis.call('HMGET', config_key, 'run_id', 'run_clock')
    if run[1] ~= args[4] then
      run[2] = clock
      redis.call('HSET', config_key, 'run_id', args[4], 'run_clock', int(clock))
    end
    if tonumber(run[2]) < tonumber(args[5]) then
      redis.call('SET', keys[1] .. ':born', int(next_id(keys[1])))
      redis.call('HSET', config_key, 'run_clock', args[5]) -- said once; what is told to the other nodes is the same
    end
  end
  return { VERSION, redis.call('GET', keys[1] .. ':born') }
end

redis.register_function { function_name = 'tidings_version', callback = function() return VERSION end, flags = { 'no-writes' } }
redis.register_function('tidings_setup', setup)
redis.register_function('tidings_publish', publish)
redis.register_function('tidings_publish_requests', publish_requests)
redis.register_function { function_name = 'tidings_groups', callback = groups, flags = { 'no-writes' } }
redis.register_function('tidings_join', join)
redis.register_function('tidings_leave', leave)
redis.register_function('tidings_replace_groups', replace_groups)
redis.register_function('tidings_logout', logout)
redis.register_function('tidings_visit', admit)
redis.register_function('tidings_claim', claim)
redis.register_function('tidings_verify', verify)
redis.register_function('tidings_hit', hit)
redis.register_function('tidings_resume', resume)
