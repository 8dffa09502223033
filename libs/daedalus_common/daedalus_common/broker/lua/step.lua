-- The featurizer's atomic step: rows, state and cursor together or not at all.
-- KEYS: raw, lease, state, history, silver, gold.
-- ARGV: epoch, token, cursor from, cursor to, entries read, hot state, history rows to keep, n history rows, those rows,
--       then per row: 5 (silver) or 6 (gold), table, payload.
local refused = fenced(KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end
local cursor, entries_read = cursor_of(KEYS[1], 'featurizer')
if cursor == ARGV[4] then return 'ALREADY' end
if cursor ~= ARGV[3] then return redis.error_reply('CONFLICT cursor is at ' .. tostring(cursor)) end
local n_history = tonumber(ARGV[8])
for i = 9, 8 + n_history do redis.call('RPUSH', KEYS[4], ARGV[i]) end
redis.call('LTRIM', KEYS[4], -tonumber(ARGV[7]), -1)
if ARGV[7] == '0' then redis.call('DEL', KEYS[4]) end
for i = 9 + n_history, #ARGV, 3 do
  local target = tonumber(ARGV[i])
  local seq = redis.call('HINCRBY', KEYS[3], target == 5 and 'silver_seq' or 'gold_seq', 1)
  redis.call('XADD', KEYS[target], '*', 's', tostring(seq), 'c', ARGV[i + 1], 'p', ARGV[i + 2])
end
redis.call('HSET', KEYS[3], 'hot', ARGV[6])
redis.call('XGROUP', 'SETID', KEYS[1], 'featurizer', ARGV[4], 'ENTRIESREAD', string.format('%.0f', entries_read + ARGV[5]))
return 'OK'
