-- KEYS: raw, silver, gold, lease, durable, counters, sequence, state. ARGV: epoch, token, server process, stream name,
--       what is durable of that stream, 1 if the server has lost its end, newest durable ids of raw, silver and gold
--       ('' for none), generation, seq and ts of raw, seq of silver and of gold, then (table, counter) of objects.
-- Remembers what the store has of a stream, for one server process. If that has lost entries which are durable, the
-- market goes on behind them: ids, seq and ts grow beyond theirs in a new generation, and features begin anew.
-- Returns 1 if it raised the market, else 0.
local refused = fenced(KEYS[4], ARGV[1], ARGV[2]) or from_elsewhere(ARGV[3])
if refused then return refused end
redis.call('HSET', KEYS[5], ARGV[4], ARGV[5])
for i = 15, #ARGV, 2 do
  local stamp, counter = string.match(ARGV[i + 1], '^(%S+) (%d+)$')
  local last = redis.call('HGET', KEYS[6], ARGV[i]) or ''
  local last_stamp, last_counter = string.match(last, '^(%S+) (%d+)$')
  if last == '' or stamp > last_stamp or (stamp == last_stamp and tonumber(counter) > tonumber(last_counter)) then
    redis.call('HSET', KEYS[6], ARGV[i], ARGV[i + 1])
  end
end
local at = redis.call('HMGET', KEYS[7], 'seq', 'ts', 'generation', 'server', 'unsettled')
redis.call('HSET', KEYS[7], 'settled ' .. ARGV[4], ARGV[3])
local is_raised = redis.call('HGET', KEYS[5], 'raised') == ARGV[3]
if is_settled(KEYS[7], ARGV[3]) then redis.call('HDEL', KEYS[7], 'unsettled') end
if ARGV[6] ~= '1' then return 0 end

local before = {}
for i = 1, 3 do before[i] = stream_info(KEYS[i], 'last-generated-id') end
for i = 1, 3 do
  if ARGV[6 + i] ~= '' and id_before(before[i], ARGV[6 + i]) then redis.call('XSETID', KEYS[i], ARGV[6 + i]) end
end
for i, field in ipairs({'silver_seq', 'gold_seq'}) do
  local seq = tonumber(redis.call('HGET', KEYS[8], field)) or 0
  if tonumber(ARGV[12 + i]) > seq then redis.call('HSET', KEYS[8], field, ARGV[12 + i]) end
end
local ts = at[2] or ''
if ARGV[12] > ts then ts = ARGV[12] end
if ts ~= '' then redis.call('HSET', KEYS[7], 'ts', ts) end
-- One loss is often found in several streams.
if is_raised then return 0 end
local untouched = at[4] ~= ARGV[3]
local seq = math.max(tonumber(at[1]) or 0, tonumber(ARGV[11]))
local generation = next_number(math.max(tonumber(at[3]) or 0, tonumber(ARGV[10])))
redis.call('HSET', KEYS[7], 'seq', string.format('%.0f', seq))
redis.call('HDEL', KEYS[7], 'unsettled') -- what came until now is dealt with below
begin_generation(KEYS[7], generation, ARGV[3], stream_info(KEYS[1], 'last-generated-id'))
-- Where something was published since, its publisher has said what it does not know, before that.
if untouched and ts ~= '' then append(KEYS[1], KEYS[7], ts, server_lost_gap(ts)) end
redis.call('HDEL', KEYS[8], 'genesis', 'hot')
-- Events before a genesis have no features; an earlier genesis among them would have rows once more.
if cursor_of(KEYS[1], 'featurizer') then skip_to_end(KEYS[1], 'featurizer') end
-- Rows computed since then lack what is durable: from the first entry that was added without knowing of the loss. What
-- an earlier loss has muted stays so where the writer has not passed it.
for i, stream in ipairs({'silver', 'gold'}) do
  local field, from = 'muted ' .. stream, at[5] or '+'
  local old_from, old_until = string.match(redis.call('HGET', KEYS[5], field) or '', '^(%S+) (%S+)$')
  if old_from and old_from ~= '+' and id_before(cursor_of(KEYS[i + 1], 'writer') or '0-0', old_until) then from = old_from end
  redis.call('HSET', KEYS[5], field, from .. ' ' .. before[i + 1])
end
redis.call('HSET', KEYS[5], 'raised', ARGV[3])
return 1
