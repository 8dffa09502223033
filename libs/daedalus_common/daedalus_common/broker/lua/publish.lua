-- KEYS: raw, sequence, lease. ARGV: epoch, token, first, then (capture_ts, payload) per event.
-- `first` counts the publisher's events of this epoch from 1: those already applied are skipped (a retry after a lost
-- reply cannot double); a jump means the server lost its tail: a gap event says so before the first event after it, and
-- the market's seq jumps in a new generation.
-- Returns {events added, events skipped, events lost, capture times clamped, the market's seq}.
local refused = fenced(KEYS[3], ARGV[1], ARGV[2])
if refused then return refused end
local at = redis.call('HMGET', KEYS[2], 'epoch', 'applied', 'seq', 'ts', 'generation', 'server')
local applied = (at[1] == ARGV[1]) and tonumber(at[2]) or 0
local seq, ts = tonumber(at[3]) or 0, at[4] or ''
local first = tonumber(ARGV[3])
local count = (#ARGV - 3) / 2
local skip = math.min(count, math.max(0, applied - first + 1))
local lost = math.max(0, first - applied - 1)
if skip == count then return {0, skip, 0, 0, string.format('%.0f', seq)} end
local here = server_id()
local generation = current_generation(at[3], at[5], at[6], here, lost > 0)
seq = seq + lost
local now = redis.call('TIME')
local latest = string.format('%d%06d000', tonumber(now[1]) + 5, tonumber(now[2]))
local clock = string.format('%d%06d000', tonumber(now[1]), tonumber(now[2]))
local clamped = 0
local first_id
if lost > 0 then
  local begin = ARGV[4 + 2 * skip]
  if begin > clock then begin = clock end
  if begin > ts then ts = begin end
  seq = seq + 1
  first_id = redis.call('XADD', KEYS[1], '*', 'g', generation, 's', string.format('%.0f', seq), 't', ts,
    'e', server_lost_gap(begin, lost))
end
for i = skip, count - 1 do
  local capture_ts = ARGV[4 + 2 * i]
  if capture_ts > latest then
    capture_ts = clock
    clamped = clamped + 1
  end
  if capture_ts > ts then ts = capture_ts end
  seq = seq + 1
  local id = redis.call('XADD', KEYS[1], '*', 'g', generation, 's', string.format('%.0f', seq), 't', ts, 'e', ARGV[5 + 2 * i])
  first_id = first_id or id
end
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'applied', string.format('%.0f', first + count - 1),
  'seq', string.format('%.0f', seq), 'ts', ts)
if generation ~= at[5] or here ~= at[6] then begin_generation(KEYS[2], generation, here, first_id) end
return {count - skip, skip, lost, clamped, string.format('%.0f', seq)}
