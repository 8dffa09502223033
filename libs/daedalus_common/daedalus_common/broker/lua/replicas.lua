-- KEYS: replicas. ARGV: my name ("" to leave only a look), ttl ms, 1 to leave. Returns the names of the live replicas.
local now = server_ms()
if ARGV[3] == '1' then
  redis.call('ZREM', KEYS[1], ARGV[1])
elseif ARGV[1] ~= '' then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
-- The server's clock went back: who is dead would count as alive until it is there again.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')) do
  redis.call('ZADD', KEYS[1], now, name)
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
