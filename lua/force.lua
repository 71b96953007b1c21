-- Tells what stands at keys, and replaces what should not stand there (`ledgerd snapshot rebuild`).
--
--   KEYS[i]                     balance:{<account_id>}:<currency>
--   ARGV                        nothing: only tell; or for each key five texts, ARGV[5i-4] to [5i]:
--                               seen, available, frozen, version, updated_at (ms)
--
-- Without ARGV it returns for each key the four fields, and behind all of them for each key a text
-- `seen`: another text whenever something else stands there, 'none' where nothing does.
--
-- With ARGV a key at which `seen` still stands is deleted and, unless the version sent is '0',
-- written anew; returns 1 or 0 for each.  So a key that its owner has written since it was looked
-- at keeps what it has.  Unlike publish.lua this goes back to lower versions.

local call = redis.call
local writes = #ARGV > 0
local fields = {}
local seen = {}
local done = {}

local function look(key)
	local kind = call('TYPE', key).ok
	if kind ~= 'hash' then
		return kind == 'none' and { false, false, false, false } or { kind }, kind
	end
	local found = call('HMGET', key, 'available', 'frozen', 'version', 'updated_at')
	local text = 'hash'
	for i = 1, 4 do -- cut, and plain: what is longer, or other than a number, is none of ours
		text = text .. ' ' .. string.gsub(string.sub(found[i] or '-', 1, 44), '[^%w.-]', '?')
	end
	return found, text
end

for i = 1, #KEYS do
	local key = KEYS[i]
	local at = 5 * i - 4

	fields[i], seen[i] = look(key)
	done[i] = 0
	if writes and seen[i] == ARGV[at] then
		call('DEL', key)
		if ARGV[at + 3] ~= '0' then
			call('HSET', key, 'available', ARGV[at + 1], 'frozen', ARGV[at + 2],
				'version', ARGV[at + 3], 'updated_at', ARGV[at + 4])
		end
		done[i] = 1
	end
end

if writes then
	return done
end
for i = 1, #KEYS do
	fields[#KEYS + i] = seen[i]
end
return fields
