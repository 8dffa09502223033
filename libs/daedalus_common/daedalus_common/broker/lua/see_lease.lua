-- KEYS: lease. Returns {owner or "" when free or expired, epoch, load as last told or ""} by the server's clock.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'expires_ms', 'owner', 'load', 'ttl_ms')
local epoch, load, now = held[1] or '0', held[5] or '', server_ms()
if not held[2] or held[2] == '' or tonumber(held[3]) <= now then return {'', epoch, load} end
-- More than a ttl is left only where the server's clock went back: a dead owner would keep the market until it is there
-- again. Its ttl counts from now; a living owner renews as ever.
local longest = held[6] and now + tonumber(held[6])
if longest and tonumber(held[3]) > longest then
  redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', longest))
end
return {held[4], epoch, load}
