-- KEYS: stream, origins. ARGV: origin, epoch, number of the first message, position, the last number that the sender knows to be
-- acknowledged; then for each run of entries that are alike their kind, how many numbers each takes, how many they are, and their
-- payloads.
-- A server may refuse one batch and take the next one. Had it taken a batch beyond that hole, the refused one would be below the
-- last number when it comes again, and be taken for appended. So the first number must follow the last one; or the last that
-- was acknowledged, which is greater where the server has lost what it had.
-- This is most of what a message costs the server: the format %d is several times as quick as %.0f where a C long can hold the
-- number, and what is used for each entry is local.
local epoch, last = 0, 0
local known = redis.pcall('HGET', KEYS[2], ARGV[1])
if known and known['err'] then
  return redis.error_reply('ORIGINS ' .. known['err'])
end
if known then
  local e, s = string.match(known, '^(%d+) (%d+)')
  epoch, last = tonumber(e), tonumber(s)
end
local mine, number = tonumber(ARGV[2]), tonumber(ARGV[3])
if mine < epoch then
  return redis.error_reply('FENCED by epoch ' .. epoch)
end
if number > math.max(last, tonumber(ARGV[5])) + 1 then
  return redis.error_reply('HOLE before message ' .. ARGV[3])
end
local producer = ARGV[1] .. '#' .. ARGV[2]
local call, format, stream, argument = redis.call, string.format, KEYS[1], ARGV
local whole = format('%d', 2 ^ 53) == '9007199254740992' and '%d' or '%.0f'
local run, ending, id = 6, #ARGV, nil
while run < ending do
  local kind, takes, past = argument[run], tonumber(argument[run + 1]), run + 3 + tonumber(argument[run + 2])
  for entry = run + 3, past - 1 do
    if number > last then
      id = call('XADD', stream, '*', 'o', producer, 's', format(whole, number), kind, argument[entry])
    end
    number = number + takes
  end
  run = past
end
if id then
  redis.call('HSET', KEYS[2], ARGV[1],
    ARGV[2] .. ' ' .. string.format('%.0f', number - 1) .. ' ' .. string.match(id, '^%d+') .. ' ' .. ARGV[4])
end
return 1
