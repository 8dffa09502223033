-- KEYS: raw, sequence, lease, state, schemas. ARGV: epoch, token, genesis id, capture_ts, payload, then (schema id, JSON).
-- Appends the genesis event to the market's sequence, once per genesis id, and declares the schemas of its rows.
local refused = fenced(KEYS[3], ARGV[1], ARGV[2])
if refused then return refused end
if redis.call('HGET', KEYS[4], 'genesis') == ARGV[3] then return 'ALREADY' end
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
append(KEYS[1], KEYS[2], ARGV[4], ARGV[5])
redis.call('HSET', KEYS[4], 'genesis', ARGV[3])
return 'OK'
