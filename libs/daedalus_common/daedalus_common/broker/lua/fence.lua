-- Put before every state-changing script: refuses whoever does not hold the lease (any more).
local function fenced(lease, epoch, token)
  local held = redis.call('HMGET', lease, 'epoch', 'token')
  if held[1] == epoch and held[2] == token then return false end
  return redis.error_reply('FENCED lease is at epoch ' .. (held[1] or '0'))
end

-- A consumer group's committed cursor and how many entries it has read; false when there is no such group.
local function cursor_of(stream, group)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err then return false, 0 end
  for _, fields in ipairs(groups) do
    local info = {}
    for i = 1, #fields, 2 do info[fields[i]] = fields[i + 1] end
    if info['name'] == group then
      return info['last-delivered-id'], tonumber(info['entries-read'] or 0) or 0
    end
  end
  return false, 0
end

local function server_ms()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

-- Entry ids do not fit a double together, so (ms, seq) are compared part by part.
local function id_before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms == b_ms then return tonumber(a_seq) < tonumber(b_seq) end
  return tonumber(a_ms) < tonumber(b_ms)
end

-- Sequence times are ns since the epoch as 19 digits: beyond 2^53, so they stay strings and compare as such.
local function append(raw, sequence, capture_ts, payload)
  local last = redis.call('HMGET', sequence, 'seq', 'ts', 'generation')
  local now = redis.call('TIME')
  local latest = string.format('%d%06d000', tonumber(now[1]) + 5, tonumber(now[2]))
  local ts, clamped = capture_ts, 0
  if ts > latest then
    ts, clamped = string.format('%d%06d000', tonumber(now[1]), tonumber(now[2])), 1
  end
  if last[2] and last[2] > ts then ts = last[2] end
  local seq = string.format('%.0f', (tonumber(last[1]) or 0) + 1)
  local id = redis.call('XADD', raw, '*', 'g', last[3] or '0', 's', seq, 't', ts, 'e', payload)
  redis.call('HSET', sequence, 'seq', seq, 'ts', ts)
  return id, clamped
end
