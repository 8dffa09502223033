-- KEYS: stream, the lease of the group's role. ARGV: group, 1 to refuse while that lease is live.
-- Removes a consumer group: what only it had not read may be trimmed from now on.
-- Returns {1, ''} when it is gone, {0, ''} when there was none, {0, owner} when its owner is at work.
if ARGV[2] == '1' then
  local held = redis.call('HMGET', KEYS[2], 'token', 'expires_ms', 'owner')
  if held[1] and held[1] ~= '' and tonumber(held[2]) > server_ms() then return {0, held[3]} end
end
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, ''} end
return {redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]), ''}
