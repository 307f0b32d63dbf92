-- KEYS: origins. ARGV: an origin that is alive, its epoch, and milliseconds. Forgets those that were silent for longer: how many.
local now = redis.call('TIME')
local time = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local forgotten, all = 0, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local epoch, last, seen, position = string.match(all[i + 1], '^(%d+) (%d+) (%d+) (.*)$')
  if all[i] == ARGV[1] then
    if epoch == ARGV[2] then
      redis.call('HSET', KEYS[1], all[i], epoch .. ' ' .. last .. ' ' .. string.format('%.0f', time) .. ' ' .. position)
    end
  elseif seen and tonumber(seen) < time - tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], all[i])
    forgotten = forgotten + 1
  end
end
return forgotten
