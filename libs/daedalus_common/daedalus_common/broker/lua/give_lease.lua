-- KEYS: lease. ARGV: epoch, token. Hands the lease back at once; the epoch stays and only grows.
local refused = fenced(KEYS[1], ARGV[1], ARGV[2])
if refused then return 'NOT YOURS' end
redis.call('HSET', KEYS[1], 'token', '', 'owner', '', 'expires_ms', '0')
return 'OK'
