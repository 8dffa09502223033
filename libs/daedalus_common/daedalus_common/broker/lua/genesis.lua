-- KEYS: raw, sequence, lease, state, schemas. ARGV: epoch, token, genesis id, capture_ts, payload, then (schema id, JSON).
-- Appends the genesis event to the market's sequence, once per genesis id, and declares the schemas of its rows.
local refused = fenced(KEYS[3], ARGV[1], ARGV[2])
if refused then return refused end
if redis.call('HGET', KEYS[4], 'genesis') == ARGV[3] then return 'ALREADY' end
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
-- A step moves the cursor with the state. So the group was removed and made again: what it would read has had its
-- features, or came behind entries that were trimmed unread.
if redis.call('HGET', KEYS[4], 'hot') and cursor_of(KEYS[1], 'featurizer') == '0-0' then
  redis.call('HDEL', KEYS[4], 'hot')
  skip_to_end(KEYS[1], 'featurizer')
end
append(KEYS[1], KEYS[2], ARGV[4], ARGV[5])
redis.call('HSET', KEYS[4], 'genesis', ARGV[3])
return 'OK'
