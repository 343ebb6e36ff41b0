package redisstore

import "github.com/redis/go-redis/v9"

// The entry of an object in its index is its size, the time of its change in
// milliseconds of the server's clock, and the version of one that was swapped.
const entryFunctions = `
local function version(entry)
  return entry and string.match(entry, '^%d+ %d+ (.*)$') or ''
end
local function entry(size, version)
  local now = redis.call('TIME')
  return size .. ' ' .. string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000)) .. (version and ' ' .. version or '')
end
`

// putScript: KEYS object, index; ARGV name, data.
var putScript = redis.NewScript(entryFunctions + `
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], entry(#ARGV[2]))
return 'done'
`)

// readScript: KEYS object, index; ARGV name, unless, then first and last byte of each
// range. It answers {"missing"}, {"unchanged"}, or {"found", size, version, data...}.
var readScript = redis.NewScript(entryFunctions + `
local now = redis.call('HGET', KEYS[2], ARGV[1])
if not now or redis.call('EXISTS', KEYS[1]) == 0 then return {'missing'} end
if ARGV[2] ~= '' and version(now) == ARGV[2] then return {'unchanged'} end
local answer = {'found', redis.call('STRLEN', KEYS[1]), version(now)}
if #ARGV == 2 then
  answer[4] = redis.call('GET', KEYS[1])
end
for i = 3, #ARGV, 2 do
  answer[#answer + 1] = redis.call('GETRANGE', KEYS[1], ARGV[i], ARGV[i + 1])
end
return answer
`)

// swapScript: KEYS object, index, added objects...; ARGV name, old, new, data, sizes of
// the added. A swap that finds its own version has happened before.
var swapScript = redis.NewScript(entryFunctions + `
local now = ''
if redis.call('EXISTS', KEYS[1]) == 1 then now = version(redis.call('HGET', KEYS[2], ARGV[1])) end
if now == ARGV[3] then return 'done' end
if now ~= ARGV[2] then return 'changed' end
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 or redis.call('STRLEN', KEYS[i]) ~= tonumber(ARGV[i + 2]) then return 'missing' end
end
redis.call('SET', KEYS[1], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[1], entry(#ARGV[4], ARGV[3]))
return 'done'
`)

// deleteScript: KEYS index, objects...; ARGV names.
var deleteScript = redis.NewScript(`
for i = 1, #ARGV do
  redis.call('UNLINK', KEYS[i + 1])
  redis.call('HDEL', KEYS[1], ARGV[i])
end
return 'done'
`)

// confirmScript: KEYS confirmed, index; ARGV name, version. It writes, so that the WAIT
// behind it waits for something.
var confirmScript = redis.NewScript(entryFunctions + `
if version(redis.call('HGET', KEYS[2], ARGV[1])) ~= ARGV[2] then return 'changed' end
redis.call('SET', KEYS[1], ARGV[2])
return 'done'
`)

// indexScript: KEYS object, index; ARGV name, version. It enters an object that is there into an
// index that lacks it.
var indexScript = redis.NewScript(entryFunctions + `
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 or redis.call('EXISTS', KEYS[1]) == 0 then return 'known' end
redis.call('HSET', KEYS[2], ARGV[1], entry(redis.call('STRLEN', KEYS[1]), ARGV[2]))
return 'done'
`)
