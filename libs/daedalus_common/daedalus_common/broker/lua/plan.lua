-- KEYS: stream, lease, plan. ARGV: epoch, token, stream name, cursor from, plan.
-- Commits the writer's plan before anything is uploaded; a plan already there must be carried out first.
local refused = fenced(KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end
local there = redis.call('HGET', KEYS[3], ARGV[3])
if there == ARGV[5] then return 'ALREADY' end
if there then return redis.error_reply('CONFLICT another plan is in progress') end
local cursor = cursor_of(KEYS[1], 'writer')
if cursor ~= ARGV[4] then return redis.error_reply('CONFLICT cursor is at ' .. tostring(cursor)) end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[5])
return 'OK'
