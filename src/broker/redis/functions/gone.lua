-- What was taken out of a log on purpose, and when, so that it can be told why somebody has it no more.

local MAX_GONE = 128

-- how: r, p or x (retracted, replaced, expired). A service whose ACL lacks the key publishes all the same; then it is
-- not known.
local function bury(ctx, address, id, how, at)
  local key = ctx.prefix .. ':gone:' .. address
  if type(redis.pcall('ZADD', key, int(at), how .. int(id))) ~= 'number' then return end
  redis.pcall('ZREMRANGEBYRANK', key, 0, -MAX_GONE - 1)
  redis.pcall('EXPIREAT', key, end_of(at, ctx.limits.seconds))
end
