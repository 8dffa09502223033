-- KEYS: raw, sequence, lease. ARGV: epoch, token, first, then (capture_ts, payload) per event.
-- `first` counts the publisher's events of this epoch from 1: those already applied are skipped (a retry after a lost
-- reply cannot double); a jump means the server lost its tail, and the market's seq jumps with it, for all to see.
-- Returns {events added, events skipped, events lost, capture times clamped, the market's seq}.
local refused = fenced(KEYS[3], ARGV[1], ARGV[2])
if refused then return refused end
local at = redis.call('HMGET', KEYS[2], 'epoch', 'applied', 'seq', 'ts', 'generation')
local applied = (at[1] == ARGV[1]) and tonumber(at[2]) or 0
local seq, ts, generation = tonumber(at[3]) or 0, at[4] or '', at[5] or '0'
local first = tonumber(ARGV[3])
local count = (#ARGV - 3) / 2
local skip = math.min(count, math.max(0, applied - first + 1))
local lost = math.max(0, first - applied - 1)
if skip == count then return {0, skip, 0, 0, string.format('%.0f', seq)} end
seq = seq + lost
local now = redis.call('TIME')
local latest = string.format('%d%06d000', tonumber(now[1]) + 5, tonumber(now[2]))
local clock = string.format('%d%06d000', tonumber(now[1]), tonumber(now[2]))
local clamped = 0
for i = skip, count - 1 do
  local capture_ts = ARGV[4 + 2 * i]
  if capture_ts > latest then
    capture_ts = clock
    clamped = clamped + 1
  end
  if capture_ts > ts then ts = capture_ts end
  seq = seq + 1
  redis.call('XADD', KEYS[1], '*', 'g', generation, 's', string.format('%.0f', seq), 't', ts, 'e', ARGV[5 + 2 * i])
end
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'applied', string.format('%.0f', first + count - 1),
  'seq', string.format('%.0f', seq), 'ts', ts)
return {count - skip, skip, lost, clamped, string.format('%.0f', seq)}
