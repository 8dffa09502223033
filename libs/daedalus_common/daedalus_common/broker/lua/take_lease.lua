-- KEYS: lease. ARGV: owner, token, ttl ms, load in events/s ("" when unknown). Takes a free or expired lease, or extends
-- one's own. A replica restarted under its own name need not wait for the ttl: its former self is fenced by the new epoch.
-- Returns {epoch, 1 if the lease is the caller's now}. The epoch only ever grows, also beyond one that the server has
-- lost with its end: spools on other machines know their events by it.
local held = redis.call('HMGET', KEYS[1], 'epoch', 'token', 'expires_ms', 'owner')
local now = server_ms()
local epoch = held[1] or '0'
if held[2] ~= ARGV[2] then
  if held[2] and held[2] ~= '' and held[4] ~= ARGV[1] and tonumber(held[3]) > now then return {tonumber(epoch), 0} end
  epoch = next_number(epoch)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'token', ARGV[2], 'owner', ARGV[1],
    'since_ms', string.format('%.0f', now))
end
redis.call('HSET', KEYS[1], 'expires_ms', string.format('%.0f', now + tonumber(ARGV[3])), 'ttl_ms', ARGV[3])
if ARGV[4] and ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'load', ARGV[4]) end
return {tonumber(epoch), 1}
