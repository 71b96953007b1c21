-- Replaces a partition's marker, if it is still the one that the caller has seen.
--
--   KEYS[1]  the marker's key
--   ARGV[1]  the text expected there; '' for none
--   ARGV[2]  the new text
--
-- Returns 1 if it was replaced, 0 if another text (or none) is there.  A Redis that was emptied has
-- no marker, so a rebuild that an emptying interrupted cannot declare itself complete.  A key of
-- another type is none: the name is ours, and SET replaces it.

local marker = redis.call('MGET', KEYS[1])[1] or '' -- not GET, which fails for another type

if marker ~= ARGV[1] then
	return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
