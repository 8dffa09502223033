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

local function stream_info(stream, field)
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == field then return info[i + 1] end
  end
end

-- What the stream holds now is not for this group.
local function skip_to_end(stream, group)
  redis.call('XGROUP', 'SETID', stream, group, '$', 'ENTRIESREAD', stream_info(stream, 'entries-added'))
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

-- The process that serves this call: while it lives, its data never go back. '' where INFO is forbidden. (5 us.)
local function server_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

-- Refuses who has read from another process than this one, which may lack what that one had. '' = whichever it is.
local function from_elsewhere(server)
  if server == '' or server == server_id() then return false end
  return redis.error_reply('CONFLICT the server is another process')
end

-- The next generation or epoch: greater than any before, also than one that only the lost end held, which would be
-- given a second time. Quarters of a second since 2026, an int32 until 2043. (No server comes back within one.)
local function next_number(last)
  local following = (tonumber(last) or 0) + 1
  local quarter = math.floor(server_ms() / 250) - 7068902400
  return string.format('%.0f', quarter < 2147483647 and math.max(following, quarter) or following)
end

-- The generation to append in. A new one begins with the sequence, and wherever its end may have been lost.
local function current_generation(seq, generation, server, here, lost)
  if not seq or lost or (server and server ~= here and here ~= '') then return next_number(generation) end
  return generation or '0'
end

-- Whether the store is known to have no more of any stream than this process (settle.lua).
local function is_settled(sequence, here)
  local by = redis.call('HMGET', sequence, 'settled raw', 'settled silver', 'settled gold')
  return by[1] == here and by[2] == here and by[3] == here
end

-- Remembers what the first entry `id` of a generation began. `unsettled` is the first entry of the first process since
-- the last one that was settled: a server may restart again before anybody has found out what it had lost before.
local function begin_generation(sequence, generation, here, id)
  redis.call('HSET', sequence, 'generation', generation, 'server', here)
  if is_settled(sequence, here) or redis.call('HGET', sequence, 'unsettled') then return end
  redis.call('HSET', sequence, 'unsettled', id)
end

-- A gap event of all channels in MessagePack (`entries.py`); the double rounds its time to 256 ns.
local function server_lost_gap(capture_ts, lost)
  return '\3\1\150' .. cmsgpack.pack(tonumber(capture_ts)) .. cmsgpack.pack('control')
    .. cmsgpack.pack('server_lost') .. '\192\192' .. (lost and cmsgpack.pack(lost) or '\192')
end

-- Sequence times are ns since the epoch as 19 digits: beyond 2^53, so they stay strings and compare as such.
local function append(raw, sequence, capture_ts, payload)
  local last = redis.call('HMGET', sequence, 'seq', 'ts', 'generation', 'server')
  local now = redis.call('TIME')
  local latest = string.format('%d%06d000', tonumber(now[1]) + 5, tonumber(now[2]))
  local ts, clamped = capture_ts, 0
  if ts > latest then
    ts, clamped = string.format('%d%06d000', tonumber(now[1]), tonumber(now[2])), 1
  end
  if last[2] and last[2] > ts then ts = last[2] end
  local here = server_id()
  local generation = current_generation(last[1], last[3], last[4], here, false)
  local seq = string.format('%.0f', (tonumber(last[1]) or 0) + 1)
  local id = redis.call('XADD', raw, '*', 'g', generation, 's', seq, 't', ts, 'e', payload)
  redis.call('HSET', sequence, 'seq', seq, 'ts', ts)
  if generation ~= last[3] or here ~= last[4] then begin_generation(sequence, generation, here, id) end
  return id, clamped
end
