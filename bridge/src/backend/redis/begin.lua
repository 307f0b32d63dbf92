-- KEYS: origins. ARGV: origin, the least epoch, and what is true if the server has forgotten: number, position.
local epoch, last, position = 0, ARGV[3], ARGV[4]
local known = redis.pcall('HGET', KEYS[1], ARGV[1])
if known and known['err'] then
  return redis.error_reply('ORIGINS ' .. known['err'])
end
if known then
  local e, s, p = string.match(known, '^(%d+) (%d+) %d+ (.*)$')
  if not e then
    -- Of a writer that gives no time.
    e, s, p = string.match(known, '^(%d+) (%d+) ?(.*)$')
  end
  epoch, last, position = tonumber(e), s, p
end
epoch = math.max(epoch, tonumber(ARGV[2])) + 1
local now = redis.call('TIME')
local time = now[1] .. string.format('%03d', math.floor(tonumber(now[2]) / 1000))
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', epoch) .. ' ' .. last .. ' ' .. time .. ' ' .. position)
return { string.format('%.0f', epoch), last, position, known and '1' or '0' }
