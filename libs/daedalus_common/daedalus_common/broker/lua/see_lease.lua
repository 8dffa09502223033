-- KEYS: lease. Returns {owner or "" when free or expired, epoch} by the server's clock.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'expires_ms', 'owner')
if not held[2] or held[2] == '' or tonumber(held[3]) <= server_ms() then return {'', held[1] or '0'} end
return {held[4], held[1]}
