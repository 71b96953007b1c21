-- Writes balances into Redis: the last write wins, by version.
--
--   KEYS[i]                           balance:{<account_id>}:<currency>
--   ARGV[4i-3], [4i-2], [4i-1], [4i]  available, frozen, version, updated_at (ms) of KEYS[i]
--
-- Returns how many of the keys kept what they had, as their version is higher than the one sent; and
-- how many held something else than a hash, which is replaced: the names are ours.
-- An equal version overwrites: after the database was restored from a copy that is behind, the log
-- fills the gap to the same versions, and what it says now counts.
--
-- Versions are compared as Lua numbers, which are doubles: exact below 2^53, and none above are
-- sent.  Amounts are texts that pass through untouched; turned into a number, 0.000000000000000001
-- beside a large amount would be lost.  A version that cannot be ours (no number, 2^53 or above)
-- loses.
--
-- Each key is written whole or not at all.  An error leaves the keys before it written; sending all
-- of them again is harmless.

local call = redis.call
local stale = 0
local replaced = 0

for i = 1, #KEYS do
	local key = KEYS[i]
	local last = 4 * i
	local version = ARGV[last - 1]
	local field = redis.pcall('HGET', key, 'version') -- false: there is none; a table: an error
	local old

	if type(field) == 'table' then
		if not string.find(field.err, 'WRONGTYPE', 1, true) then
			return field
		end
		call('DEL', key)
		replaced = replaced + 1
	else
		old = tonumber(field)
	end
	if old and old > tonumber(version) and old < 2 ^ 53 then
		stale = stale + 1
	else
		call('HSET', key, 'available', ARGV[last - 3], 'frozen', ARGV[last - 2],
			'version', version, 'updated_at', ARGV[last])
	end
end

return {stale, replaced}
