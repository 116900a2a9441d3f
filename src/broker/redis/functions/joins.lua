-- Reading and changing a user's groups through the API.

-- [group, id at which it was joined, …]
local function membership_of(groups)
  local membership = {}
  for group, mark in pairs(groups.marks) do
    if mark.joined then
      membership[#membership + 1] = group
      membership[#membership + 1] = int(mark.at)
    end
  end
  return membership
end

-- ARGV: user.   Reply: [group, id at which it was joined, …]
local function groups_of(keys, args)
  return membership_of(read_groups(open(keys), args[1]))
end

local function too_many()
  return redis.error_reply('TIDINGS_TOO_MANY_GROUPS A user may be in at most ' .. MAX_GROUPS .. ' groups; leave some before joining others')
end

-- ARGV: user, group
local function join(keys, args)
  local ctx = open(keys)
  others.known(ctx) -- an emptied partition refuses here, before streams are told
  local groups = read_groups(ctx, args[1])
  local was = groups.marks[args[2]]
  local is_new = not (was and was.joined)
  if is_new and groups.joined >= MAX_GROUPS then return too_many() end
  enter_group(ctx, args[1], groups, args[2], 'r')
  save_groups(ctx, args[1], groups)
  return is_new and 1 or 0
end

-- ARGV: user, group. The mark is written even for a group that was never joined, so that a token which claims it does
-- not bring it in.
local function leave(keys, args)
  local ctx = open(keys)
  local groups = read_groups(ctx, args[1])
  exit_group(ctx, args[1], groups, args[2], 'r')
  save_groups(ctx, args[1], groups)
  return 1
end

-- ARGV: user, group…
local function replace_groups(keys, args)
  local ctx, user, wanted, count = open(keys), args[1], {}, 0
  others.known(ctx) -- as in `join`
  local groups = read_groups(ctx, user)
  for i = 2, #args do
    if not wanted[args[i]] then count = count + 1 end
    wanted[args[i]] = true
  end
  if count > MAX_GROUPS then return too_many() end
  local lost = {}
  for group, mark in pairs(groups.marks) do
    if mark.joined and not wanted[group] then lost[#lost + 1] = group end
  end
  for _, group in ipairs(lost) do exit_group(ctx, user, groups, group, 'r') end
  for i = 2, #args do enter_group(ctx, user, groups, args[i], 'r') end
  save_groups(ctx, user, groups)
  return #args - 1
end
