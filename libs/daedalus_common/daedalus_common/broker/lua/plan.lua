-- KEYS: stream, lease, plan, durable. ARGV: epoch, token, stream name, cursor from, plan, and what the entries were read
--       under: the server process and the muted rows.
-- Commits the writer's plan before anything is uploaded; a plan already there must be carried out first.
local refused = fenced(KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end
local there = redis.call('HGET', KEYS[3], ARGV[3])
if there == ARGV[5] then return 'ALREADY' end
if there then return redis.error_reply('CONFLICT another plan is in progress') end
-- Entries in the writer's memory may be of a lost end.
local elsewhere = from_elsewhere(ARGV[6])
if elsewhere then return elsewhere end
if (redis.call('HGET', KEYS[4], 'muted ' .. ARGV[3]) or '') ~= ARGV[7] then
  return redis.error_reply('CONFLICT rows were muted')
end
local cursor = cursor_of(KEYS[1], 'writer')
if cursor ~= ARGV[4] then return redis.error_reply('CONFLICT cursor is at ' .. tostring(cursor)) end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
return 'OK'
