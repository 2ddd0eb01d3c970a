/**
 * What several processes share of each limit lives in Redis, one key a limit:
 *
 * - `s`: what was taken, by slot of Redis' own time. A window's sum is what its slots hold.
 * - `l`: what each holder has as a lease: `g` what it may still take, `t` and `r` what it said last that it has taken and given
 *   back since it began, `x` when the lease ends, `n` the number of its last message.
 *
 * The law: when something is granted, the sum of the window and all leases together are at most the limit. So nothing that is
 * taken out of leases can go beyond it, whoever takes it, and whenever within the lease.
 *
 * - What is taken is counted when it is reported: later than it was taken, never sooner.
 * - What comes back leaves the oldest slots, so that what stays leaves late rather than early.
 * - A lease that ends without a word counts as taken whole in its last moment; a holder that speaks later corrects that.
 * - A message that comes a second time, or after a later one, changes nothing; so does one that comes after its deadline.
 * - A holder that Redis does not know (its data was lost, or it is new) says what it took in this window; that counts as of now.
 *
 * Places of open calls have no window: a lease is the number of places, in use or not, and ends with its time.
 *
 * @param timeExpression gives what `TIME` does; tests put their own in its place
 */
export function leaseScript(timeExpression = "redis.call('TIME')"): string {
  return `
local time = ${timeExpression}
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local out = { now }
local leaseMs = tonumber(ARGV[1])
local deadline = tonumber(ARGV[2])
if deadline > 0 and now > deadline then return cjson.encode(out) end
local messages = cjson.decode(ARGV[3])
for i, key in ipairs(KEYS) do
  local holder, number, amount, slotMs, slots, taken, back, recent, want, need, least = unpack(messages[i])
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
  if own and number <= own.n then
    for _ = 1, ${answersPerLimit} do out[#out + 1] = -1 end
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
      if isWindow and recent > 0 then counts[slot] = (counts[slot] or 0) + recent end
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
  recent: number,
  want: number,
  need: number,
  least: number,
];

/** Granted, left for this holder, wait, reset. All of them -1: the message was not the newest. */
export const answersPerLimit = 4;

/**
 * Tells that a process is there, and counts those that are: KEYS[1] a sorted set of them, ARGV[1] its id, ARGV[2] the milliseconds
 * after which one is not heard of any more.
 */
export const presenceScript = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return cjson.encode({ now, redis.call('ZCARD', KEYS[1]) })
`;
