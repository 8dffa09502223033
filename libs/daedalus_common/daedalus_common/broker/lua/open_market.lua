-- KEYS: streams raw, silver, gold, late. ARGV: per stream, the groups that read it, comma-separated.
-- The groups are created with the stream, before its first entry, so that nothing is trimmed unread.
-- Returns which server process this is: what is read from now on is what it has.
for i, stream in ipairs(KEYS) do
  for group in string.gmatch(ARGV[i], '[^,]+') do
    local reply = redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    if type(reply) == 'table' and reply.err and not string.find(reply.err, 'BUSYGROUP') then return reply end
  end
end
return server_id()
