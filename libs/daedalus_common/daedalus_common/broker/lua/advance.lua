-- KEYS: stream, lease, plan, counters, dead letters, quality. ARGV: epoch, token, stream name, plan, cursor to,
--       entries read, keep_ms, dead letters to keep, what is known of the gaps ('' leaves it), n counters, then
--       (table, counter), then per dead letter: entry id, reason, the entry's fields as JSON.
-- Every object of the plan is durable: moves the cursor and what is known at it, removes the plan, keeps the dead
-- letters, trims the stream.
-- Returns how many old dead letters made room for new ones.
local refused = fenced(KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end
local cursor, entries_read = cursor_of(KEYS[1], 'writer')
local there = redis.call('HGET', KEYS[3], ARGV[3])
if not there and cursor == ARGV[5] then return 0 end
if there ~= ARGV[4] then return redis.error_reply('CONFLICT another plan is in progress') end
local n_counters = tonumber(ARGV[10])
for i = 11, 10 + 2 * n_counters, 2 do
  -- "stamp counter": a row that came back from the dead letters may be of an hour before the newest.
  local newest = string.match(redis.call('HGET', KEYS[4], ARGV[i]) or '', '^%S*')
  if string.match(ARGV[i + 1], '^%S*') >= newest then redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1]) end
end
local dropped = 0
for i = 11 + 2 * n_counters, #ARGV, 3 do
  local before = redis.call('XLEN', KEYS[5])
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[8], '*',
    'stream', ARGV[3], 'id', ARGV[i], 'reason', ARGV[i + 1], 'fields', ARGV[i + 2])
  dropped = dropped + before + 1 - redis.call('XLEN', KEYS[5])
end
redis.call('XGROUP', 'SETID', KEYS[1], 'writer', ARGV[5], 'ENTRIESREAD', string.format('%.0f', entries_read + ARGV[6]))
redis.call('HDEL', KEYS[3], ARGV[3])
if ARGV[9] ~= '' then redis.call('HSET', KEYS[6], 'gaps', ARGV[9]) end
-- Nothing goes before every group has passed it, whoever the group belongs to; live readers keep at least keep_ms.
local least = string.format('%.0f-0', math.max(0, server_ms() - tonumber(ARGV[7])))
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #fields, 2 do
    if fields[i] == 'last-delivered-id' and id_before(fields[i + 1], least) then least = fields[i + 1] end
  end
end
-- LIMIT 0: by default an approximate trim stops after 10,000 entries, less than a run may have.
redis.call('XTRIM', KEYS[1], 'MINID', '~', least, 'LIMIT', 0)
return dropped
