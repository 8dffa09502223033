-- KEYS: state, history. Returns {genesis, hot, history}, all of the same step.
local state = redis.call('HMGET', KEYS[1], 'genesis', 'hot')
return {state[1], state[2], redis.call('LRANGE', KEYS[2], 0, -1)}
