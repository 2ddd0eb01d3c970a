import { createManualClock, type ManualClock } from "@weir/edge/testing/manual-clock";
import type { Counter } from "@weir/kit/limits/counter";
import type { LeasedCounter } from "@weir/kit/limits/lease";
import { presenceScript } from "@weir/kit/limits/lease-script";
import type { Limit, LimitKind } from "@weir/kit/limits/limit";
import { createLimiter, type Limiter, Taking } from "@weir/kit/limits/limiter";
import { createSharedStore, type SharedStore } from "@weir/kit/limits/shared-store";
import { createLog } from "@weir/kit/log";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { redisForTests, type TestRedis } from "./redis-for-tests.ts";

// Edges share a limit in a real Redis, whose script has the test's own time: calls, their ends, questions and answers that are lost
// or late, edges that die, and a Redis that loses what it knows, in any order.

const runs = Math.ceil(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) / 20);
const silent = createLog({ service: "test", level: "silent" });
const edgeCount = 3;
const minuteMs = 60_000;
/** As the store has it. */
const leaseMs = 5_000;
const timeKey = "weir:test:time";
const timeExpression = `{ redis.call('GET', '${timeKey}:s'), redis.call('GET', '${timeKey}:us') }`;
const presence = presenceScript(timeExpression);

let server: TestRedis;
beforeAll(async () => {
  server = await redisForTests(1);
});
afterAll(() => server.stop());

type Fate = "answered" | "question lost" | "answer lost" | "late";

/** What one call took of the limit. */
interface Entry {
  readonly edge: Edge;
  readonly takenMs: number;
  readonly atMs: number;
  readonly taken: number;
  /** What counts of it, at most what was set aside; 0 for a place that is free again. */
  used: number;
  isSettled: boolean;
  /** Whether the edge's share allowed it. */
  readonly isAlone: boolean;
  /** Its place in the world's log. */
  readonly index: number;
}

class World {
  readonly clock = createManualClock(1_000_000_000);
  readonly limit: Limit;
  readonly log: Entry[] = [];
  readonly edges: Edge[] = [];
  /** Those that died among them. */
  readonly everyEdge: Edge[] = [];
  /** What becomes of the next messages; afterwards all are answered. */
  fates: Fate[] = [];
  hasLost = false;
  lostDataMs = Number.NEGATIVE_INFINITY;
  /** What calls used beyond what was set aside. */
  beyond = 0;
  private readonly under = new Set<Promise<unknown>>();
  private late: (() => Promise<void>)[] = [];

  constructor(limit: Limit) {
    this.limit = limit;
  }

  async begin(): Promise<void> {
    await server.redis.run("return redis.call('FLUSHDB')", [], []);
    await this.advance(0);
    for (let index = 0; index < edgeCount; index++) this.edges.push(new Edge(this, index));
    await this.advance(0);
    await this.advance(1_000);
    for (const edge of this.edges) expect(edge.store.holders).toBe(edgeCount);
  }

  /** Redis, as an edge reaches it. */
  run(edge: Edge, text: string, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const isLease = text !== presence;
    const fate = isLease ? (this.fates.shift() ?? "answered") : "answered";
    if (fate !== "answered") this.hasLost = true;
    const execute = async () => {
      const answer = await this.track(server.redis.run(text, keys, args));
      if (isLease) edge.heard(JSON.parse(answer as string) as number[]);
      return answer;
    };
    if (fate === "answered") return execute();
    if (fate === "answer lost") void execute();
    if (fate === "late") this.late.push(() => execute().then(() => undefined));
    return new Promise(() => undefined);
  }

  /** Messages that were held up come now, after others. */
  async deliverLate(): Promise<void> {
    const all = this.late;
    this.late = [];
    for (const deliver of all.reverse()) await deliver();
  }

  async loseData(): Promise<void> {
    const lose = "for _, key in ipairs(redis.call('KEYS', 'weir:limits:*:requests:*')) do redis.call('DEL', key) end";
    await server.redis.run(lose.replace("requests", this.limit.kind), [], []);
    this.lostDataMs = this.clock.monotonic();
    for (const edge of this.everyEdge) edge.lose();
  }

  /** @param stepMs so long messages take that leave meanwhile */
  async advance(ms: number, stepMs = ms > 3_000 ? 500 : 100): Promise<void> {
    for (let left = ms; left >= 0; left -= stepMs) {
      const passedMs = Math.min(left, stepMs);
      const nowMs = this.clock.monotonic() + passedMs;
      // Before the timers, whose messages come to Redis after they were sent.
      await server.redis.run(
        "redis.call('SET', KEYS[1], ARGV[1]); redis.call('SET', KEYS[2], ARGV[2])",
        [`${timeKey}:s`, `${timeKey}:us`],
        [String(Math.floor(nowMs / 1_000)), String(Math.floor((nowMs % 1_000) * 1_000))],
      );
      this.clock.advance(passedMs);
      await this.quiet();
    }
  }

  /** Waits until nothing happens any more without time's passing. */
  async quiet(): Promise<void> {
    for (let turn = 0; turn < 4; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.under.size === 0) continue;
      await Promise.allSettled(this.under);
      turn = 0;
    }
  }

  private track(call: Promise<unknown>): Promise<unknown> {
    this.under.add(call);
    // Whoever made the call is told what it failed with.
    void call.finally(() => this.under.delete(call)).catch(() => undefined);
    return call;
  }

  /** What counts of the last minute, or is open now. */
  counted(which: (entry: Entry) => boolean = () => true): number {
    const sinceMs = this.limit.window === undefined ? Number.NEGATIVE_INFINITY : this.clock.monotonic() - minuteMs;
    return this.log.filter((entry) => entry.atMs > sinceMs && which(entry)).reduce((sum, { used }) => sum + used, 0);
  }

  /** Window and leases, as Redis has them. */
  async state(): Promise<{ sum: number; leased: number }> {
    const read = `local out = {}
      for _, key in ipairs(redis.call('KEYS', 'weir:limits:*:${this.limit.kind}:*')) do
        out[#out + 1] = cjson.encode(cmsgpack.unpack(redis.call('GET', key)))
      end
      return out`;
    const [text] = (await server.redis.run(read, [], [])) as string[];
    if (text === undefined) return { sum: 0, leased: 0 };
    const { s, l } = JSON.parse(text) as { s: Record<string, number>; l: Record<string, { g: number; x: number }> };
    const nowMs = this.clock.monotonic();
    const slots = Object.entries(s).filter(([slot]) => Number(slot) > Math.floor(nowMs / 1_000) - 61);
    const leases = Object.values(l).filter(({ x }) => x > nowMs);
    return {
      sum: slots.reduce((sum, [, count]) => sum + count, 0),
      leased: leases.reduce((sum, { g }) => sum + g, 0),
    };
  }
}

class Edge {
  readonly store: SharedStore;
  readonly limiter: Limiter;
  readonly counter: Counter;
  readonly open: { readonly taking: Taking; readonly tokens: number }[] = [];
  private readonly world: World;
  private isDead = false;
  private wasAlone = false;
  /** When Redis last took notice of it. */
  private heardMs = Number.NEGATIVE_INFINITY;
  /** Since this one of the log Redis has vouched for what it takes; Infinity: it does not. */
  private vouchedFrom = Number.POSITIVE_INFINITY;

  constructor(world: World, index: number) {
    this.world = world;
    world.everyEdge.push(this);
    const clock = skewed(world.clock, index * 1_000_003);
    this.store = createSharedStore({
      run: (text, keys, args) => (this.isDead ? new Promise(() => undefined) : world.run(this, text, keys, args)),
      clock,
      holder: `edge-${index}-${world.edges.length}-${Math.random()}`,
      measures: { operation: () => undefined, judgedAlone: () => (this.wasAlone = true) },
      log: silent,
      timeExpression,
    });
    this.limiter = createLimiter({ clock, store: this.store });
    this.counter = this.limiter.counter(world.limit);
    this.record(world);
    const counter = this.counter as LeasedCounter;
    const { answered } = counter;
    counter.answered = (nowMs, answer) => {
      answered.call(counter, nowMs, answer);
      const [granted = -1] = answer;
      if (granted >= 0 && this.vouchedFrom === Number.POSITIVE_INFINITY) this.vouchedFrom = world.log.length;
    };
  }

  /** Redis has run a message of this edge. */
  heard([redisMs = 0, granted = -1]: readonly number[]): void {
    if (granted < 0) return;
    if (this.hasLapsed(redisMs)) this.vouchedFrom = Number.POSITIVE_INFINITY;
    this.heardMs = redisMs;
  }

  /** Redis has lost what it knew. */
  lose(): void {
    this.vouchedFrom = Number.POSITIVE_INFINITY;
  }

  /** Whether its places may be others' since. Windows know no such thing: what a lease leaves open is taken. */
  private hasLapsed(nowMs: number): boolean {
    return this.world.limit.window === undefined && nowMs - this.heardMs >= leaseMs;
  }

  /** Whether Redis knew, when this was taken, and has not forgotten since, all that it has to know. */
  isVouched({ index }: Entry): boolean {
    return index >= this.vouchedFrom && !this.hasLapsed(this.world.clock.monotonic());
  }

  /** Writes down what is taken, and what becomes of it. */
  private record(world: World): void {
    const { counter } = this;
    const { waitMs, take, settle } = counter;
    const entries: Entry[] = [];
    let isAlone = false;
    counter.waitMs = (nowMs, amount, alone) => {
      this.wasAlone = false;
      const wait = waitMs.call(counter, nowMs, amount, alone);
      isAlone = this.wasAlone;
      return wait;
    };
    counter.take = (nowMs, amount) => {
      const taken = take.call(counter, nowMs, amount);
      // What a dead process would still have done, it does not do.
      if (this.isDead) return taken;
      const atMs = world.clock.monotonic();
      const index = world.log.length;
      const entry = { edge: this, takenMs: nowMs, atMs, taken, used: taken, isSettled: false, isAlone, index };
      entries.push(entry);
      world.log.push(entry);
      return taken;
    };
    counter.settle = (nowMs, takenMs, taken, used) => {
      settle.call(counter, nowMs, takenMs, taken, used);
      if (this.isDead) return;
      const found = entries.find((entry) => !entry.isSettled && entry.takenMs === takenMs && entry.taken === taken);
      if (found === undefined) throw new Error("what is settled was never taken");
      found.isSettled = true;
      found.used = Math.min(taken, used);
      world.beyond += Math.max(0, used - taken);
    };
  }

  async call(tokens: number): Promise<void> {
    const outcome = await this.limiter.take([this.counter], tokens);
    if (outcome instanceof Taking) this.open.push({ taking: outcome, tokens });
  }

  die(): void {
    this.isDead = true;
    void this.store.close();
    this.limiter.close();
  }
}

function skewed(clock: ManualClock, byMs: number): Clock {
  return { now: clock.now, monotonic: () => clock.monotonic() + byMs, after: clock.after };
}
type Clock = Pick<ManualClock, "now" | "monotonic" | "after">;

const fate = fc.constantFrom<Fate>("answered", "question lost", "answer lost", "late");
const edge = fc.nat(edgeCount - 1);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("call" as const),
      edge,
      count: fc.constantFrom(1, 2, 10, 40),
      tokens: fc.integer({ min: 1, max: 30 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("end" as const),
      edge,
      count: fc.nat(10),
      /** What was used of the tokens; null: all is given back. */
      part: fc.constantFrom(0, 0.5, 1, 1.5, null),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(0, 30, 100, 300, 1_100, 6_000, 20_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("lose messages" as const), fates: fc.array(fate, { maxLength: 4 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("deliver late" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("die" as const), edge }) },
);
const steps = fc.array(step, { minLength: 5, maxLength: 60, size: "max" });

test.each<[LimitKind, number]>([
  ["requests", 1],
  ["requests", 100],
  ["tokens", 1_000],
  ["concurrent", 3],
  ["concurrent", 40],
])(
  "edges that share a limit never take more together: %s, %d",
  async (kind, amount) => {
    const limit: Limit = { scope: "key", id: "k", kind, window: kind === "concurrent" ? undefined : "minute", amount };
    await fc.assert(
      fc.asyncProperty(steps, fc.option(fc.nat(59), { freq: 3 }), async (actions, losesDataAt) => {
        const world = new World(limit);
        await world.begin();
        for (const [index, action] of actions.entries()) {
          if (index === losesDataAt) await world.loseData();
          const edge = "edge" in action ? (world.edges[action.edge] as Edge) : undefined;
          if (action.do === "call") for (let count = 0; count < action.count; count++) void edge?.call(action.tokens);
          if (action.do === "end") {
            for (const { taking, tokens } of edge?.open.splice(0, action.count) ?? []) {
              if (action.part === null) taking.giveBack();
              else {
                taking.settle(Math.floor(tokens * action.part));
                taking.end();
              }
            }
          }
          if (action.do === "wait") await world.advance(action.ms);
          if (action.do === "lose messages") world.fates = action.fates;
          if (action.do === "deliver late") await world.deliverLate();
          if (action.do === "die") {
            edge?.die();
            // The calls of a process end with it.
            if (kind === "concurrent") for (const entry of world.log) if (entry.edge === edge) entry.used = 0;
            world.edges[action.edge] = new Edge(world, action.edge);
          }
          await world.quiet();
          await world.advance(0);
          await verify(world);
        }
        await verifyEnd(world);
        for (const edge of world.edges) edge.die();
      }),
      { numRuns: runs },
    );
  },
  120_000,
);

async function verify(world: World): Promise<void> {
  const { amount, window } = world.limit;
  const nowMs = world.clock.monotonic();
  for (const edge of world.edges) {
    const alone = world.counted((entry) => entry.isAlone && entry.edge === edge);
    expect(alone).toBeLessThanOrEqual(Math.max(1, Math.floor(amount / edgeCount)));
  }
  if (!world.hasLost) expect(world.log.some((entry) => entry.isAlone)).toBe(false);
  const leased = (entry: Entry) => !entry.isAlone;
  expect(world.counted((entry) => leased(entry) && entry.edge.isVouched(entry))).toBeLessThanOrEqual(amount);
  // What was taken before data were lost, and what was taken since.
  if (window !== undefined) expect(world.counted(leased)).toBeLessThanOrEqual(amount * 2);
  // What edges tell of the time before the loss is over when that is, at most three seconds late.
  const isWhole = window === undefined || nowMs - world.lostDataMs > minuteMs + leaseMs + 3_000;
  if (isWhole && !world.log.some((entry) => entry.isAlone)) {
    const state = await world.state();
    expect(state.sum + state.leased).toBeLessThanOrEqual(amount + world.beyond);
  }
}

/** When all calls have ended and a window has passed, one edge gets the whole limit. */
async function verifyEnd(world: World): Promise<void> {
  const { kind, amount } = world.limit;
  world.fates = [];
  // Until no call waits any more.
  await world.advance(100);
  for (const { open } of world.edges) for (const { taking } of open.splice(0)) taking.end();
  await world.advance(leaseMs * 2);
  // Nobody is heard meanwhile, so that leases end as well.
  await world.advance(minuteMs + leaseMs + 3_000, minuteMs + leaseMs + 3_000);
  await world.advance(2_000, 500);
  const before = world.log.length;
  const [edge] = world.edges;
  for (let call = 0; call < (kind === "tokens" ? 1 : amount); call++) void edge?.call(amount);
  await world.quiet();
  expect(world.log.slice(before).reduce((sum, { taken }) => sum + taken, 0)).toBe(amount);
  expect(world.log.slice(before).some(({ isAlone }) => isAlone)).toBe(false);
}
