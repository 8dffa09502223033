-- The featurizer's atomic step: rows, state and cursor together or not at all.
-- KEYS: raw, lease, state, history, silver, gold.
-- ARGV: epoch, token, server process and genesis that the state was read under, cursor from, cursor to, entries read,
--       hot state, history rows to keep, n history rows, those rows, then rows in runs of one table: 5 (silver) or
--       6 (gold), table, n rows, those rows.
local refused = fenced(KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end
local cursor, entries_read = cursor_of(KEYS[1], 'featurizer')
if cursor == ARGV[6] then return 'ALREADY' end
if cursor ~= ARGV[5] then return redis.error_reply('CONFLICT cursor is at ' .. tostring(cursor)) end
-- Entries in the featurizer's memory may be of a lost end, and its state be taken away (settle.lua).
local elsewhere = from_elsewhere(ARGV[3])
if elsewhere then return elsewhere end
if ARGV[4] ~= '' and ARGV[4] ~= (redis.call('HGET', KEYS[3], 'genesis') or '') then
  return redis.error_reply('CONFLICT features begin anew')
end
local n_history = tonumber(ARGV[10])
for i = 11, 10 + n_history do redis.call('RPUSH', KEYS[4], ARGV[i]) end
-- A count of 0 is no range: Redis 7.0 refuses the -0 that a number would give.
if ARGV[9] == '0' then redis.call('DEL', KEYS[4]) else redis.call('LTRIM', KEYS[4], '-' .. ARGV[9], -1) end
-- Counted here and stored once: a call per row would cost as much again as the rows, in time and in the append-only file.
local last = redis.call('HMGET', KEYS[3], 'silver_seq', 'gold_seq')
local seqs = {[5] = tonumber(last[1]) or 0, [6] = tonumber(last[2]) or 0}
local i = 11 + n_history
while i <= #ARGV do
  local target, seq = tonumber(ARGV[i]), seqs[tonumber(ARGV[i])]
  local stream, table_name, first, n = KEYS[target], ARGV[i + 1], i + 3, tonumber(ARGV[i + 2])
  for row = first, first + n - 1 do
    seq = seq + 1
    redis.call('XADD', stream, '*', 's', string.format('%d', seq), 'c', table_name, 'p', ARGV[row])
  end
  seqs[target], i = seq, first + n
end
local silver, gold = string.format('%.0f', seqs[5]), string.format('%.0f', seqs[6])
redis.call('HSET', KEYS[3], 'hot', ARGV[8], 'silver_seq', silver, 'gold_seq', gold)
redis.call('XGROUP', 'SETID', KEYS[1], 'featurizer', ARGV[6], 'ENTRIESREAD', string.format('%.0f', entries_read + ARGV[7]))
return 'OK'
