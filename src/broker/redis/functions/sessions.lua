-- Revocation of tokens, the one session of a user, small stored values, and the counters of rate limits.

-- Each heartbeat of its stream renews the session.
local SESSION_SECONDS = 86400

-- Nodes know it by its code, and have the sentence for it (Revoked in broker.ts).
local REVOKED = 'TIDINGS_TOKEN_REVOKED The user has logged out'

-- Returns the id of the last logout and the newest iat that was seen by then; nil if there was none.
local function read_logout(ctx, user)
  local text = redis.call('GET', ctx.prefix .. ':revoked:' .. user)
  if not text then return nil end
  local id, newest = text:match('^(%d+) ?(%S*)$')
  id = tonumber(id)
  -- Older libraries stored the id alone. Then all tokens of that second count as seen.
  return id, tonumber(newest) or math.floor(id / SECOND)
end

-- A token issued in the second of the logout is valid if it is newer than all that were seen by then. Comparing with
-- the newest seen iat also catches tokens from a clock that runs ahead.
local function is_revoked(ctx, user, iat)
  local id, newest = read_logout(ctx, user)
  return id and (iat < math.floor(id / SECOND) or iat <= newest), id
end

-- Publishers' tokens are not recorded as seen, so one issued in the second of the logout may be older than it and is
-- refused.
local function is_publisher_revoked(ctx, user, iat)
  if user == '' then return false end
  local revoked, id = is_revoked(ctx, user, iat)
  return revoked or (id and iat <= math.floor(id / SECOND))
end

-- ARGV: user. Ends every stream of the user for good, and revokes the tokens issued until now.
local function logout(keys, args)
  local ctx, user = open(keys), args[1]
  local id = next_id(ctx)
  local known = read_user(redis.call('HGET', ctx.prefix .. ':groups:' .. user, '') or nil)
  redis.call('SET', ctx.prefix .. ':revoked:' .. user, int(id) .. ' ' .. ('%.17g'):format(known.iat),
    'EX', int(math.max(ctx.limits.token_seconds, REVOKED_SECONDS)))
  tell(ctx, user, 'logout', id)
  return int(id)
end

-- Reads a user's session: the fence (an id; cursors below it belong to replaced tabs) and the tag of the stream that
-- holds the session.
local function read_session(ctx, user)
  local value = redis.call('GET', ctx.prefix .. ':session:' .. user)
  if not value then return nil end
  local fence, tag, admitted = value:match('^(%d+) (%S*) ?(%d*)$')
  return tonumber(fence), tag, tonumber(admitted or nil)
end

-- admitted: the id of the holder's visit, or nil.
local function write_session(ctx, user, fence, tag, admitted)
  redis.call('SET', ctx.prefix .. ':session:' .. user, int(fence) .. ' ' .. tag .. (admitted and ' ' .. int(admitted) or ''), 'EX', SESSION_SECONDS)
end

-- Counts in a window that begins with its first hit. Redis stores the end of a key as a date. If that is further away
-- than the window is long, the time was set back, and the key would count for that much longer. Returns the count and
-- the milliseconds that are left.
local function count_hits(key, window_ms, hits)
  local counted = redis.call('INCRBY', key, hits)
  local left = counted ~= tonumber(hits) and redis.call('PTTL', key) or -1
  if left >= 0 and left <= tonumber(window_ms) then return counted, left end
  redis.call('PEXPIRE', key, window_ms)
  return counted, tonumber(window_ms)
end

-- Reply: ['admitted', 'revoked' or 'replaced', hits of each counter…]. A revoked token is not counted, since that could
-- lock out its user.
local function visit_one(ctx, at_id, window_ms, user, token, cursor, args, from, count)
  local answer = { 'admitted' }
  if is_revoked(ctx, user, token.iat) then
    answer[1] = 'revoked'
    for i = 1, count do answer[i + 1] = 0 end
    return answer
  end
  -- Reads only the field about the user. The claim is applied when the stream is filled.
  local key = ctx.prefix .. ':groups:' .. user
  local text = redis.call('HGET', key, '')
  local known = read_user(text or nil)
  if not known.first or token.iat > known.iat or token.exp > known.exp then
    token.at = at_id
    see_token(ctx, user, read_groups(ctx, user), token)
  end
  for i = from, from + count - 1 do answer[#answer + 1] = (count_hits(ctx.prefix .. ':hits:' .. args[i], window_ms, 1)) end
  local fence = cursor and read_session(ctx, user)
  if fence and cursor < fence then answer[1] = 'replaced' end
  return answer
end

-- ARGV: window in ms, then for each visitor: user, the token's iat and exp, cursor or '' (many streams are allowed),
-- how many counters, counter…
-- Reply: the id of the visits, then for each ['admitted', 'revoked' or 'replaced', hits of each counter in its window…]
local function visits(keys, args)
  local ctx, at = open(keys), 2
  local id = next_id(ctx)
  local reply = { int(id) }
  while args[at] do
    local count = count_at(args, at + 4)
    local token = { iat = tonumber(args[at + 1]), exp = tonumber(args[at + 2]) }
    reply[#reply + 1] = alone(visit_one, ctx, id, args[1], args[at], token, tonumber(args[at + 3]), args, at + 5, count)
    at = at + 5 + count
  end
  return reply
end

-- ARGV: user, the stream's tag, cursor or '', the id of its visit (absent from older nodes).
-- Reply: [1 if it holds the session now, else 0, the claim's id, the fence, the visit that the session is kept with,
-- or 0]. A fence below that visit was lowered (src/hub/sessions.ts). A fresh stream takes over and raises the
-- fence, unless the holder's visit was later: then it was only slower, and its client has often gone. A stream that
-- resumes from below the fence was replaced while it was away. One from above the fence is the holder itself; then the
-- fence stays, since the next reconnect may come before the client has seen a newer id.
local function claim(keys, args)
  local ctx, user, tag, cursor, admitted = open(keys), args[1], args[2], tonumber(args[3]), tonumber(args[4] or nil)
  local id = next_id(ctx)
  if cursor and cursor > id then cursor = nil end
  local fence, _, holder_admitted = read_session(ctx, user)
  local is_late = not cursor and (holder_admitted or 0) > (admitted or id)
  if fence and (is_late or (cursor and cursor < fence)) then return { 0, int(id), int(fence) } end
  if not cursor then fence = id
  elseif not fence then fence = cursor
  -- Nobody asks for a reconnect, so a page that was admitted before it may still take the session.
  else admitted = holder_admitted or admitted end
  write_session(ctx, user, fence, tag, admitted)
  tell(ctx, user, 'takeover', id, tag)
  return { 1, int(id), int(fence), int(admitted or 0) }
end

-- ARGV: (user, tag, fence)…
-- Reply: the tags whose sessions were taken over. A session that expired or was lost is restored.
local function verify(keys, args)
  local ctx, lost = open(keys), {}
  for i = 1, #args - 2, 3 do
    local _, tag, admitted = read_session(ctx, args[i])
    if tag and tag ~= args[i + 1] then lost[#lost + 1] = args[i + 1] else write_session(ctx, args[i], tonumber(args[i + 2]), args[i + 1], admitted) end
  end
  return lost
end

-- ARGV: key, another key, text, seconds. Takes the value of the first key and stores the text under the other.
-- Reply: the taken value; nil if there was none, and then nothing is stored.
local function exchange(keys, args)
  local kept = keys[1] .. ':kept:'
  local text = redis.call('GET', kept .. args[1])
  if not text then return nil end
  -- First, so that nothing is taken if nothing can be written.
  redis.call('SET', kept .. args[2], args[3], 'EX', args[4])
  redis.call('UNLINK', kept .. args[1])
  return text
end

-- ARGV: key, for how many seconds this call is remembered.
-- Reply: how many remembered calls there are, including this one
local function ordinal(keys, args)
  local key = keys[1] .. ':hits:' .. args[1]
  local count = redis.call('INCRBY', key, 1)
  redis.call('EXPIRE', key, args[2], count == 1 and 'NX' or 'GT')
  return count
end

-- ARGV: key, window in ms, hits.   Reply: [hits in the window, ms until it ends]
local function hit(keys, args)
  return { count_hits(keys[1] .. ':hits:' .. args[1], args[2], args[3]) }
end
