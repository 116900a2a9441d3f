-- Group membership: who is or was in which group and when, and how a token's claim changes that.
--
-- <prefix>:groups:<user> has a field for each group:
--   "+<joined at>", then r if joined through the API, c if by a claim, nothing if by an older library
--   "-<left at>", then r if left through the API, c if by a claim
-- and after that " <from>:<to>" for each past membership. The field with the empty name is about the user:
--   "<first visit> <newest exp> <newest iat> <iat of the newest claim> <id below which past memberships are forgotten>"

local MAX_SPANS = 4
local MAX_LEFT = 5000
-- A logout is remembered at least this long.
local REVOKED_SECONDS = 30 * DAY_SECONDS
-- A token counts as valid for no longer than this, which bounds how long the user's records are kept.
local MAX_TOKEN_SECONDS = 400 * DAY_SECONDS

-- Sends a control message to every node with a stream of the user. `subject`: a group, or the tag of a session.
local function tell(ctx, user, control, id, subject)
  local member = subject and ',"subject":' .. encode(subject) or ''
  redis.call(PUBLISH, ctx.prefix .. ':user:' .. user, '{"control":"' .. control .. '","n":"' .. NONCE .. '"' .. member .. BY .. ',"id":"' .. int(id) .. '"}')
end

local function read_mark(text)
  -- Most have an id of 16 digits and no spans. Cutting it out takes a third of the time of a pattern.
  if #text == 18 then
    local sign, at, by = text:byte(), tonumber(text:sub(2, 17)), text:sub(18)
    if at and (sign == 43 or sign == 45) and (by == 'c' or by == 'r') then return { joined = sign == 43, at = at, by = by, spans = '' } end
  end
  local sign, at, by, spans = text:match('^([+-])(%d+)(%a?)(.*)$')
  if not sign then return { at = 0, by = 'c', spans = '' } end
  return { joined = sign == '+', at = tonumber(at), by = by, spans = spans }
end

local function write_mark(mark)
  return (mark.joined and '+' or '-') .. int(mark.at) .. mark.by .. mark.spans
end

local function read_user(text)
  local first, exp, iat, claim, forgotten = (text or ''):match('^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {
    first = tonumber(first), exp = tonumber(exp) or 0, iat = tonumber(iat) or -1, claim = tonumber(claim) or -1, forgotten = tonumber(forgotten) or 0
  }
end

local function write_user(known)
  return ('%s %s %.17g %.17g %s'):format(known.first and int(known.first) or '-', int(known.exp), known.iat, known.claim, int(known.forgotten))
end

-- Reads the record of a user: marks by group, how many groups are joined and left, and `user`, see above.
local function read_groups(ctx, user)
  local flat = redis.call('HGETALL', ctx.prefix .. ':groups:' .. user)
  local groups = { marks = {}, joined = 0, left = 0 }
  for i = 1, #flat, 2 do
    if flat[i] == '' then groups.user = read_user(flat[i + 1]) else
      local mark = read_mark(flat[i + 1])
      groups.marks[flat[i]] = mark
      if mark.joined then groups.joined = groups.joined + 1 else groups.left = groups.left + 1 end
    end
  end
  groups.user = groups.user or read_user(nil)
  return groups
end

-- Whether the membership has no end, because it was not given by a claim.
local function stays(mark) return mark ~= nil and mark.joined and mark.by ~= 'c' end

local function set_mark(groups, group, mark)
  local was = groups.marks[group]
  -- Most calls change nothing.
  if not groups.changed then groups.changed, groups.gone, groups.stays = {}, {}, {} end
  if stays(was) ~= stays(mark) then groups.stays[group] = (groups.stays[group] or 0) + (stays(mark) and 1 or -1) end
  if was then
    if was.joined then groups.joined = groups.joined - 1 else groups.left = groups.left - 1 end
  end
  if mark.joined then groups.joined = groups.joined + 1 else groups.left = groups.left + 1 end
  groups.marks[group] = mark
  groups.changed[group] = mark
end

local function enter_group(ctx, user, groups, group, by)
  local mark = groups.marks[group]
  if mark and mark.joined then
    if mark.by ~= 'r' and mark.by ~= by then set_mark(groups, group, { joined = true, at = mark.at, by = by, spans = mark.spans }) end
    return
  end
  local id = next_id(ctx)
  set_mark(groups, group, { joined = true, at = id, by = by, spans = mark and mark.spans or '' })
  groups.moved = true
  tell(ctx, user, 'join', id, group)
end

-- The past memberships that a cursor may still reach, and one more. Past MAX_SPANS the oldest is forgotten, and clients
-- that were away since then are `incomplete`.
local function with_span(ctx, groups, spans, from, to)
  local since, list = to - ctx.limits.seconds * SECOND, {}
  for span in spans:gmatch('%d+:%d+') do
    if tonumber(span:match(':(%d+)$')) > since then list[#list + 1] = span end
  end
  if from then list[#list + 1] = int(from) .. ':' .. int(to) end
  if #list > MAX_SPANS then
    groups.user.forgotten = math.max(groups.user.forgotten, tonumber(table.remove(list, 1):match(':(%d+)$')))
  end
  return #list > 0 and ' ' .. table.concat(list, ' ') or ''
end

local function exit_group(ctx, user, groups, group, by)
  local mark, id = groups.marks[group], next_id(ctx)
  local spans = with_span(ctx, groups, mark and mark.spans or '', mark and mark.joined and mark.at or nil, id)
  -- If the API took it away, no older token brings it back, whoever takes it away again.
  set_mark(groups, group, { joined = false, at = id, by = by, spans = spans })
  groups.moved = true
  tell(ctx, user, 'leave', id, group)
end

local function left_seconds(ctx)
  return math.max(ctx.limits.seconds, ctx.limits.token_seconds, DAY_SECONDS)
end

-- Removes marks of left groups once no older token can name them, and the oldest if there are too many.
local function forget_left(ctx, groups)
  if groups.left == 0 then return end
  local since, left = ctx.now - left_seconds(ctx) * SECOND, {}
  for group, mark in pairs(groups.marks) do
    if not mark.joined then
      if mark.at <= since then groups.gone[#groups.gone + 1] = group elseif groups.left > MAX_LEFT then left[#left + 1] = group end
    end
  end
  if groups.left - #groups.gone > MAX_LEFT then
    table.sort(left, function(a, b) return groups.marks[a].at < groups.marks[b].at end)
    for i = 1, #left - MAX_LEFT do
      for to in groups.marks[left[i]].spans:gmatch(':(%d+)') do groups.user.forgotten = math.max(groups.user.forgotten, tonumber(to)) end
      groups.gone[#groups.gone + 1] = left[i]
    end
  end
  for _, group in ipairs(groups.gone) do
    groups.marks[group], groups.changed[group] = nil, nil
    groups.left = groups.left - 1
  end
end

-- Sets when the record of a user expires: when nobody can ask for it any more. `is_kept`: never. A stream may live as
-- long as its token, and come back within the history after that. Without the record the user would be in their groups
-- only from the return on, and what went there meanwhile would be lost without a word. It outlasts each leap of time
-- that is not noticed (see `leapt`).
local function end_groups(ctx, user, exp, has_left, is_kept)
  local key = ctx.prefix .. ':groups:' .. user
  if is_kept then return redis.call('PERSIST', key) end
  local at = ctx.last or ctx.now
  local ends = end_of(math.max(at, exp * SECOND), ctx.limits.seconds + LEAP_SECONDS)
  if has_left then ends = math.max(ends, end_of(at, left_seconds(ctx))) end
  -- Most visits change nothing here, and what is only read costs replicas and the append-only file nothing.
  if redis.call('EXPIRETIME', key) ~= ends then redis.call('EXPIREAT', key, int(ends)) end
end

local function is_kept(groups)
  for _, mark in pairs(groups.marks) do
    if stays(mark) then return true end
  end
  return false
end

-- Writes what has changed.
local function save_groups(ctx, user, groups)
  local key = ctx.prefix .. ':groups:' .. user
  if not groups.changed then groups.changed, groups.gone, groups.stays = {}, {}, {} end
  if next(groups.stays) then others.count_joined(ctx, groups.stays) end
  forget_left(ctx, groups)
  for i = 1, #groups.gone, 1000 do redis.call('HDEL', key, unpack(groups.gone, i, math.min(i + 999, #groups.gone))) end
  local flat = { '', write_user(groups.user) }
  for group, mark in pairs(groups.changed) do
    flat[#flat + 1] = group
    flat[#flat + 1] = write_mark(mark)
    if #flat >= 1000 then
      redis.call('HSET', key, unpack(flat))
      flat = { '', write_user(groups.user) }
    end
  end
  redis.call('HSET', key, unpack(flat))
  end_groups(ctx, user, groups.user.exp, groups.left > 0, is_kept(groups))
  groups.changed, groups.gone, groups.stays = nil, nil, nil
end

-- Applies a valid token. token: iat and exp in seconds; at, the id of the visit, if there is one already; claimed, a
-- list of groups, or nil without a claim; takes, false for a token of an older node, which does not tell an empty claim
-- from none.
local function see_token(ctx, user, groups, token)
  local known, now_seconds = groups.user, math.floor(ctx.now / SECOND)
  local was_first = known.first
  if not known.first then known.first = token.at or next_id(ctx) end
  local exp = math.min(token.exp, now_seconds + MAX_TOKEN_SECONDS)
  local dirty = not was_first or token.iat > known.iat or exp > known.exp
  known.iat, known.exp = math.max(known.iat, token.iat), math.max(known.exp, exp)
  local life = math.ceil(exp - (token.iat > 0 and token.iat or now_seconds))
  if life > ctx.limits.token_seconds then
    ctx.limits.token_seconds = math.min(life, MAX_TOKEN_SECONDS)
    redis.call('HSET', ctx.prefix .. ':config', 'token_seconds', int(ctx.limits.token_seconds))
  end
  if token.claimed and token.iat >= known.claim then
    if token.takes ~= false and token.iat > known.claim then
      local named = {}
      for _, group in ipairs(token.claimed) do named[group] = true end
      local lost = {}
      for group, mark in pairs(groups.marks) do
        if mark.joined and mark.by == 'c' and not named[group] then lost[#lost + 1] = group end
      end
      for _, group in ipairs(lost) do exit_group(ctx, user, groups, group, 'c') end
      known.claim, dirty = token.iat, true
    end
    -- Joins at most MAX_GROUPS. An error would lock the user out; `sync` says which groups they are in.
    for _, group in ipairs(token.claimed) do
      local mark = groups.marks[group]
      local joined = mark and mark.joined
      local was_taken = mark and not joined and mark.by ~= 'c' and token.iat * SECOND <= mark.at
      if joined then
        if mark.by == '' then enter_group(ctx, user, groups, group, 'c') end
      elseif not was_taken and groups.joined < MAX_GROUPS then
        enter_group(ctx, user, groups, group, 'c')
      end
    end
  end
  -- Each visit extends the record, but memberships without an end need no extension.
  if dirty or groups.changed then save_groups(ctx, user, groups)
  elseif not is_kept(groups) then end_groups(ctx, user, known.exp, groups.left > 0) end
end
