const redisTime = "redis.call('TIME')";

/**
 * What several processes share of each limit lives in Redis, one key a limit:
 *
 * - `s`: what was taken, by slot of Redis' own time. A window's sum is what its slots hold.
 * - `l`: what each holder has as a lease: `g` what it may still take, `t` and `r` what it said last that it has taken and given
 *   back since it began, `x` when the lease ends, `n` the number of its last message.
 *
 * The law: when something is granted, the sum of the window and all leases together are at most the limit. So nothing that is
 * taken out of leases can go beyond it, as long as no holder takes what is not in its lease here, and nothing leaves the window
 * within the span after it was taken. Why neither can happen, whoever dies and whatever message is lost, late or repeated:
 *
 * - A holder takes what an answer grants, less what it took since it asked, and only for the length of a lease from the moment of
 *   asking. Redis counts the same length from when it reads, which is later: a lease is over at its holder first.
 * - A message says how much of its lease its holder keeps, and from then on the holder takes no more than that. When the question
 *   is lost, the older lease here is the larger one; when the answer is, nobody uses what was granted, and it ends.
 * - A message that may come after its lease's end leaves its holder nothing. It has a deadline, and Redis takes no notice of what
 *   comes later, nor of a message that comes a second time or after a later one.
 * - What is taken is counted when it is reported: later than it was taken, never sooner. It leaves the lease here and at its holder
 *   alike, also what the holder took without one, by its share.
 * - A lease that ends without a word counts as taken whole in its last moment; a holder that speaks later corrects that.
 * - What is taken and given back is told as sums since the holder began, so that the next message makes good for one that was lost.
 *   What comes back leaves the oldest slots, so that what stays leaves late rather than early, and must be in the window still.
 * - A holder that Redis does not know, since it is new or the data were lost, is not heard before it tells its past: what it took
 *   in this window, and how long ago at least. Until then what it had at hand is nothing, since others may have it.
 *
 * After a loss of data Redis does not know what those took who have not spoken since: then the law holds for what is taken since,
 * and windows may hold the limit twice. Places of open calls have no window: a lease is the number of places, in use or not, and
 * ends with its time; of what a holder has open then, Redis knows when it speaks again, as far as there is room.
 *
 * @param timeExpression gives what `TIME` does; tests put their own in its place
 */
export function leaseScript(timeExpression = redisTime): string {
  return `
local time = ${timeExpression}
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local out = { now }
local leaseMs = tonumber(ARGV[1])
local deadline = tonumber(ARGV[2])
if deadline > 0 and now > deadline then return cjson.encode(out) end
local messages = cjson.decode(ARGV[3])
for i, key in ipairs(KEYS) do
  local holder, number, amount, slotMs, slots, taken, back, past, want, need, least = unpack(messages[i])
  local isWindow = slots > 0
  local windowMs = slotMs * slots
  local slot = isWindow and math.floor(now / slotMs) or 0
  local packed = redis.call('GET', key)
  local state = packed and cmsgpack.unpack(packed) or { s = {}, l = {} }
  local sum, newest = 0, nil
  local counts = {}
  for text, count in pairs(state.s) do
    local number = tonumber(text)
    if number > slot - slots - 1 and count > 0 then counts[number] = count end
  end
  local own = state.l[holder]
  if own and number <= own.n or not own and not past then
    for _ = 1, ${answersPerLimit} do out[#out + 1] = own and ${answerOlder} or ${answerUnknown} end
  else
    local others = 0
    for name, lease in pairs(state.l) do
      if lease.x <= now and lease.g > 0 then
        if isWindow then
          local last = math.floor(lease.x / slotMs)
          if last > slot - slots - 1 then counts[last] = (counts[last] or 0) + lease.g end
          lease.t = lease.t + lease.g
        end
        lease.g = 0
      end
      if name ~= holder then
        others = others + lease.g
        if lease.x + windowMs + slotMs <= now then state.l[name] = nil end
      end
    end
    if not own then
      own = { g = 0, t = taken, r = back, x = 0, n = 0 }
      for _, part in ipairs(past) do
        local age, count = unpack(part)
        local moment = math.floor((now - age) / slotMs)
        if moment > slot - slots - 1 then counts[moment] = (counts[moment] or 0) + count end
      end
    elseif isWindow then
      local more = taken - own.t
      if more > 0 then
        counts[slot] = (counts[slot] or 0) + more
        own.g = math.max(0, own.g - more)
      elseif more < 0 then
        local last = math.floor(own.x / slotMs)
        if counts[last] then counts[last] = math.max(0, counts[last] + more) end
      end
      own.t = taken
      local left = back - own.r
      if left > 0 then
        local order = {}
        for number in pairs(counts) do order[#order + 1] = number end
        table.sort(order)
        for _, number in ipairs(order) do
          local part = math.min(left, counts[number])
          counts[number] = counts[number] - part
          left = left - part
          if left <= 0 then break end
        end
      end
      own.r = math.max(own.r, back)
    end
    for number, count in pairs(counts) do
      sum = sum + count
      if count > 0 and (not newest or number > newest) then newest = number end
    end
    local keep = math.min(own.g, want)
    local free = amount - sum - others - keep
    local must = math.max(0, need - keep)
    local given = 0
    if keep + math.max(0, free) >= least then given = math.min(must, math.max(0, free)) end
    local wait = 0
    if keep + given < least then
      wait = leaseMs
      if isWindow then
        local order, leaving = {}, 0
        for number in pairs(counts) do order[#order + 1] = number end
        table.sort(order)
        for _, number in ipairs(order) do
          leaving = leaving + counts[number]
          if keep + free + leaving >= least then
            wait = (number + slots + 1) * slotMs - now
            break
          end
        end
      end
    end
    local ahead = want - keep - must
    if ahead > 0 and free - given > 1 then given = given + math.min(ahead, math.floor((free - given) / 2)) end
    own.g = keep + given
    own.x = now + leaseMs
    own.n = number
    state.l[holder] = own
    state.s = {}
    for number, count in pairs(counts) do
      if count > 0 then state.s[tostring(number)] = count end
    end
    redis.call('SET', key, cmsgpack.pack(state), 'PX', windowMs + slotMs + leaseMs * 2)
    out[#out + 1] = own.g
    out[#out + 1] = amount - sum - others
    out[#out + 1] = math.ceil(wait)
    out[#out + 1] = newest and (newest + slots + 1) * slotMs - now or 0
  end
end
return cjson.encode(out)
`;
}

/** What the script is told of one limit; it answers with numbers, as JSON: Redis' time in milliseconds, then `answersPerLimit` of each limit. */
export type LimitMessage = readonly [
  holder: string,
  number: number,
  amount: number,
  slotMs: number,
  slots: number,
  taken: number,
  returned: number,
  past: Past | false,
  want: number,
  need: number,
  least: number,
];

/** What a holder took that still counts: how long ago, at least, and how much. */
export type Past = readonly (readonly [ageMs: number, amount: number])[];

/** Granted, left for this holder, wait, reset; or all of them one of the two below. */
export const answersPerLimit = 4;
/** The message was not the newest. */
const answerOlder = -1;
/** The holder is not known, and does not tell its past. Nothing was done. */
export const answerUnknown = -2;

/**
 * Tells that a process is there, and counts those that are: KEYS[1] a sorted set of them, ARGV[1] its id, ARGV[2] the milliseconds
 * after which one is not heard of any more.
 * @param timeExpression as in leaseScript
 */
export function presenceScript(timeExpression = redisTime): string {
  return `
local time = ${timeExpression}
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return cjson.encode({ now, redis.call('ZCARD', KEYS[1]) })
`;
}
