-- KEYS: stream, origins. ARGV: an identifier; 1, if the origins are wanted.
local function id_of(entries) return entries[1] and entries[1][1] or '' end
local first = id_of(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1))
local newest = id_of(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1))
local there = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
local producer, number = '', ''
if there[1] then
  local fields = there[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'o' then producer = fields[i + 1] end
    if fields[i] == 's' then number = fields[i + 1] end
  end
end
local last = '0-0'
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not info['err'] then
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
elseif not string.find(info['err'], 'no such key', 1, true) then
  return redis.error_reply(info['err'])
end
local origins = {}
if ARGV[2] == '1' then
  origins = redis.pcall('HGETALL', KEYS[2])
  if origins['err'] then
    return redis.error_reply('ORIGINS ' .. origins['err'])
  end
end
return { first, newest, last, id_of(there), producer, number, origins }
