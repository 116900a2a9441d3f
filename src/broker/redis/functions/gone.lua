-- Remembers entries that were removed on purpose, so that "why" can be answered, and notices evictions by Redis.

local MAX_GONE = 128

-- how: r, p or x (retracted, replaced, expired). A service whose ACL lacks this key can publish all the same; then the
-- removal is not remembered.
local function bury(ctx, address, id, how, at)
  local key = ctx.prefix .. ':gone:' .. address
  if type(redis.pcall('ZADD', key, int(at), how .. int(id))) ~= 'number' then return end
  redis.pcall('ZREMRANGEBYRANK', key, 0, -MAX_GONE - 1)
  -- An expired entry is often found long after others were removed, which are to be remembered as well.
  redis.pcall('EXPIREAT', key, end_of(math.max(at, ctx.last or ctx.now), ctx.limits.seconds))
end

-- Anything may have been evicted, so the history begins anew.
local function look_for_evictions(ctx, id)
  local key = ctx.prefix .. ':config'
  local evicted, known = redis.call('INFO', 'stats'):match('evicted_keys:(%d+)'), redis.call('HGET', key, 'evicted')
  if not evicted or evicted == known then return end
  redis.call('HSET', key, 'evicted', evicted)
  if tonumber(evicted) <= (tonumber(known or 0) or 0) then return end
  redis.call('HSET', key, 'has_evicted', '1')
  redis.call('SET', ctx.prefix .. ':born', int(id))
end
