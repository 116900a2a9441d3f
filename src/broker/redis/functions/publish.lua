-- Publishing: takes one id, appends to the logs and sends on the channels, all or nothing.

local IDEMPOTENT_SECONDS = 86400
-- Up to this many bytes of addresses are stored with an answer, and of each further address MARK_BYTES of its hash: a
-- thousand addresses would be 134 KB for a day, and whoever repeats the request has them.
local KEPT_ADDRESS_BYTES, MARK_BYTES = 4096, 6
-- The beginning of our messages. Whoever can only PUBLISH does not know the nonce, so nodes recognise forged ids.
local DURABLE = '{"tidings":1,"n":"' .. NONCE .. '","id":'
-- In a Cluster, names the process that sends: a master that was stopped while another took its place still runs the
-- calls that it was sent before, and what it sends reaches the nodes that listen to the new one, with newer ids than
-- those to come. Nodes drop that. Empty until a node has told the run id (configure.lua).
local BY = ''

local function encode(text) return (cjson.encode(text):gsub('\\/', '/')) end

-- Answers one of many requests in a call. A failure (such as a stuck key) fails this request alone: ['error', why].
local function alone(answer, ...)
  local ok, result = pcall(answer, ...)
  if ok then return result end
  return { 'error', type(result) == 'table' and result.err or tostring(result) }
end

-- Sends to the nodes. Returns for each address how many nodes got it.
local function send(ctx, req)
  local payload
  if req.keep == 'none' then
    payload = '{"event":"' .. req.event .. '"'
    -- Without an id, only this mark tells a stream that it got the same notification by another address.
    if #req.to > 1 then payload = payload .. ',"once":"' .. int(next_id(ctx)) .. '"' end
    -- Other services may have members `once` and `by` of their own in what they PUBLISH.
    if BY ~= '' or #req.to > 1 then payload = payload .. ',"n":"' .. NONCE .. '"' end
  else
    payload = DURABLE .. int(req.id) .. ',"event":"' .. req.event .. '"'
  end
  if req.traceparent then payload = payload .. ',"tp":' .. encode(req.traceparent) end
  payload = payload .. BY .. ',"data":' .. req.data .. '}'
  local receivers = {}
  for i, address in ipairs(req.to) do
    local reply = redis.pcall(PUBLISH, ctx.prefix .. ':' .. address, payload)
    if type(reply) == 'number' then receivers[i] = reply else
      -- If the first channel is refused, nothing is published. After that, it was.
      if i == 1 then
        for _, each in ipairs(req.keep ~= 'none' and req.to or {}) do
          redis.pcall('XDEL', ctx.prefix .. ':log:' .. each, int(req.id) .. '-0')
          pcall(forget_entry, ctx, each, req.id)
        end
        error(reply, 0)
      end
      receivers[i] = 0
    end
  end
  return receivers
end

function others.mark_of(address)
  local hash = redis.sha1hex(address)
  return struct.pack('>I4I2', tonumber(hash:sub(1, 8), 16), tonumber(hash:sub(9, 12), 16))
end

local function keep_answer(key, req, receivers)
  if not key then return end
  local to, bytes, marks = req.to, 0, nil
  for i = 1, #to do
    bytes = bytes + #to[i]
    if bytes > KEPT_ADDRESS_BYTES then
      marks = {}
      for j = i, #to do marks[#marks + 1] = others.mark_of(to[j]) end
      to = { unpack(to, 1, i - 1) }
      break
    end
  end
  local answer = { req.id and int(req.id) or '', receivers, to, marks and table.concat(marks) or '', req.pending }
  redis.call('SET', key, cmsgpack.pack(answer), 'EX', IDEMPOTENT_SECONDS)
end

-- Finds the addresses of an answer that were not stored among those of the request. If it names others (so it is
-- another request with the same key), the answer lacks those that it does not name.
function others.restore(answer, req)
  local to, marks, named, receivers, addresses, is_same = answer[3], answer[4], {}, {}, {}, #req.to == #answer[2]
  for _, address in ipairs(req.to) do named[others.mark_of(address)] = address end
  for i, count in ipairs(answer[2]) do
    local last = MARK_BYTES * (i - #to)
    local address = to[i] or named[marks:sub(last - MARK_BYTES + 1, last)]
    is_same = is_same and address == req.to[i]
    if address then addresses[#addresses + 1], receivers[#receivers + 1] = address, count end
  end
  answer[2], answer[3] = receivers, is_same and req.to or addresses
end

-- Returns [id or '', receivers, addresses] of an earlier publish with this key. Older libraries stored address, id,
-- receivers…
local function known_answer(key, req)
  local text = redis.call('GET', key)
  if not text then return nil end
  local answer = cmsgpack.unpack(text)
  if type(answer[2]) ~= 'table' then
    local known = { answer[2] or '', {}, {} }
    for i = 1, #answer, 3 do
      known[2][#known[2] + 1] = answer[i + 2]
      known[3][#known[3] + 1] = answer[i]
    end
    return known
  end
  if (answer[4] or '') ~= '' then others.restore(answer, req) end
  return answer
end

local function end_and_trim(ctx, id, address, log, data, by_service)
  local ends = end_of(id, ctx.limits.seconds)
  redis.call('EXPIREAT', log, ends)
  if #data >= LARGE_BYTES then note(ctx, address, '\2', id, 0, ends) end
  if by_service then ask_for_trim(ctx, address, id) else trim(ctx, address, id) end
end

-- The most frequent case, one address without options: the same as store and send in fewer steps.
local function publish_plain(ctx, id, address, event, data, by_service)
  local prefix, text = ctx.prefix, int(id)
  local log = prefix .. ':log:' .. address
  local added = redis.pcall('XADD', log, text .. '-0', 'e', event, 'd', data)
  if type(added) ~= 'string' then append(ctx, address, log, text .. '-0', id, { 'e', event, 'd', data }) end
  local ok, why = pcall(end_and_trim, ctx, id, address, log, data, by_service)
  local payload = DURABLE .. text .. ',"event":"' .. event .. '"' .. BY .. ',"data":' .. data .. '}'
  local receivers = not ok and why or redis.pcall(PUBLISH, prefix .. ':' .. address, payload)
  if type(receivers) == 'number' then return text, receivers end
  redis.pcall('XDEL', log, text .. '-0')
  pcall(forget_entry, ctx, address, id)
  error(receivers, 0)
end

-- A function is not a transaction: what it wrote before an error stays. So rights that are needed late are checked
-- before anything is written. Redis checks the others early enough.
function others.must_be_allowed(command, key, ...)
  if redis.acl_check_cmd(command, key, ...) then return end
  refuse('NOPERM This user may not run ' .. command .. ' on ' .. key .. ', which is needed here; nothing was done. The documents have the ACL recipe')
end

-- Replacing a key removes the older notification. A node looks once a second for its rights (look_for_rights); without
-- the others it fails before anything is sent.
function others.may_replace(ctx, address, by_service)
  local keys = ctx.prefix .. ':keys:' .. address
  others.must_be_allowed('XDEL', ctx.prefix .. ':log:' .. address, '1-0')
  if not by_service then return end
  others.must_be_allowed('ZADD', keys, '1', 'x')
  others.must_be_allowed('EXPIREAT', keys, '1')
  others.must_be_allowed('ZREMRANGEBYSCORE', keys, '0', '0')
end

-- req: to, event, data, keep, ttl, key, traceparent, answer_key, and id if one was reserved. Returns whether it is an
-- earlier answer, and [id or '', receivers, addresses].
local function publish_request(ctx, req)
  local answer_key = req.answer_key and ctx.prefix .. req.answer_key
  local known = answer_key and known_answer(answer_key, req)
  if known then return true, known end
  if req.keep == 'inbox' and #req.to == 1 and not req.key and not req.ttl and not req.traceparent and not req.by_service then
    local text, taken = publish_plain(ctx, req.id or next_id(ctx), req.to[1], req.event, req.data)
    keep_answer(answer_key, { id = text, to = req.to }, { taken })
    return false, { text, { taken }, req.to }
  end
  -- Nil: all addresses are in other partitions, since the first publish with this idempotency key was to this one.
  local first = req.to[1]
  -- What a key replaces is removed before the newer notification is sent.
  if first and (req.key or req.by_service) then others.must_be_allowed(PUBLISH, ctx.prefix .. ':' .. first, '') end
  if req.by_service and answer_key then others.must_be_allowed('SET', answer_key, '', 'EX', '1') end
  if first and req.key then others.may_replace(ctx, first, req.by_service) end
  if req.keep == 'none' then req.id = nil else
    req.id = req.id or next_id(ctx)
    if req.ttl and req.ttl <= ctx.limits.seconds then req.expires = req.id + req.ttl * SECOND end
    store(ctx, req)
  end
  -- A service whose ACL lacks this key must fail before anything is sent.
  if answer_key and req.by_service then keep_answer(answer_key, req, { 0 }) end
  local ok, receivers = pcall(send, ctx, req)
  if not ok then
    if answer_key and req.by_service then redis.pcall('UNLINK', answer_key) end
    error(receivers, 0)
  end
  if answer_key then keep_answer(answer_key, req, receivers) end
  return false, { req.id and int(req.id) or '', receivers, req.to }
end
