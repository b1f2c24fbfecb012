//! What Redis runs itself, so that reading and writing are one step. Each takes the hits of several
//! requests at once, in their order, and gives one row for each; below 0 they are given back.

/// A bucket is a hash of tokens and the moment (microseconds) they were counted. KEYS[1]; ARGV:
/// now, capacity, tokens a second, seconds to live, hits…. A row: whether they were taken, and the
/// tokens left as text, for Redis would cut a number's fraction.
pub(super) const TAKE: &str = r"
local now, capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 't', 'a')
local tokens, at = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now
if now > at then
  tokens = tokens + (now - at) / 1000000 * rate
  at = now
end
tokens = math.min(capacity, tokens)
local rows = {}
for i = 5, #ARGV do
  local hits, allowed = tonumber(ARGV[i]), 0
  if tokens >= hits then
    tokens = math.min(capacity, tokens - hits)
    allowed = 1
  end
  rows[#rows + 1] = {allowed, string.format('%.17g', tokens)}
end
redis.call('HSET', KEYS[1], 't', string.format('%.17g', tokens), 'a', string.format('%.0f', at))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return rows
";

/// A sliding window is a hash of the window of the clock, the hits in it and those in the one before.
/// KEYS[1]; ARGV: now (microseconds), length of a window (microseconds), limit, seconds to live,
/// hits…. A row: whether they were counted, the window, hits in it, hits before.
pub(super) const SLIDE: &str = r"
local now, length, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'w', 'c', 'p')
local window = math.floor(now / length)
local at, current, previous = tonumber(kept[1]) or window, tonumber(kept[2]) or 0, tonumber(kept[3]) or 0
if at > window then
  window = at
elseif at + 1 == window then
  current, previous = 0, current
elseif at < window then
  current, previous = 0, 0
end
local left = 1 - (now % length) / length
local rows = {}
for i = 5, #ARGV do
  local hits, allowed = tonumber(ARGV[i]), 1
  if hits < 0 then
    local rest = math.max(0, -hits - current)
    current = math.max(0, current + hits)
    previous = math.max(0, previous - rest)
  elseif current + previous * left + hits <= limit then
    current = current + hits
  else
    allowed = 0
  end
  rows[#rows + 1] = {allowed, window, current, previous}
end
redis.call('HSET', KEYS[1], 'w', string.format('%.0f', window), 'c', string.format('%.0f', current), 'p', string.format('%.0f', previous))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return rows
";

/// Takes hits off a count, down to 0; a count that does not exist stays so. KEYS[1]; ARGV: hits…. A
/// row: what is left.
pub(super) const REFUND: &str = r"
local count, rows = tonumber(redis.call('GET', KEYS[1]) or '0'), {}
for i = 1, #ARGV do
  local back = math.min(math.max(0, count), tonumber(ARGV[i]))
  if back > 0 then count = redis.call('DECRBY', KEYS[1], back) end
  rows[i] = {math.max(0, count)}
end
return rows
";
