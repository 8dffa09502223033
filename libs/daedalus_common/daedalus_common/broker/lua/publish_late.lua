-- KEYS: late, late places. ARGV: folder, then (position, epoch, number, capture_ts, payload) per event.
-- Adds the events of one late folder that are not added yet: positions only grow, so a retry after a lost reply adds
-- nothing twice. Not fenced: these events are outside the sequence, and the folder's lock has one holder.
-- Returns {events added, the stream's length}.
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '-1')
local added = 0
for i = 2, #ARGV, 5 do
  if tonumber(ARGV[i]) > last then
    last = tonumber(ARGV[i])
    redis.call('XADD', KEYS[1], '*', 'g', ARGV[i + 1], 's', ARGV[i + 2], 't', ARGV[i + 3], 'e', ARGV[i + 4])
    added = added + 1
  end
end
if added > 0 then redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f', last)) end
return {added, redis.call('XLEN', KEYS[1])}
