-- KEYS: dead letters, stream. ARGV: dead letter id, then the entry's fields (name, value).
-- Puts the entry at the end of its stream and forgets the dead letter, both or neither: who repeats it finds no letter.
-- Returns the new entry's id, GONE, or NO STREAM.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'GONE' end
local id = redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', unpack(ARGV, 2))
if not id then return 'NO STREAM' end
redis.call('XDEL', KEYS[1], ARGV[1])
return id
