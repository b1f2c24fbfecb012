//! What Redis runs itself, so that reading and writing are one step.

/// A bucket is a hash of tokens and the moment (microseconds) they were counted. KEYS[1]; ARGV:
/// now, hits (below 0: given back), capacity, tokens a second, seconds to live. Gives whether the
/// hits were taken, and the tokens left as text, for Redis would cut a number's fraction.
pub(super) const TAKE: &str = r"
local now, hits, capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 't', 'a')
local tokens, at = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now
if now > at then
  tokens = tokens + (now - at) / 1000000 * rate
  at = now
end
tokens = math.min(capacity, tokens)
local allowed = 0
if tokens >= hits then
  tokens = math.min(capacity, tokens - hits)
  allowed = 1
end
redis.call('HSET', KEYS[1], 't', string.format('%.17g', tokens), 'a', string.format('%.0f', at))
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {allowed, string.format('%.17g', tokens)}
";

/// Takes hits off a count, down to 0; a count that does not exist stays so.
pub(super) const REFUND: &str = r"
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
if count <= 0 then return 0 end
return redis.call('DECRBY', KEYS[1], math.min(count, tonumber(ARGV[1])))
";
