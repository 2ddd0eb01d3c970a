import { type Account, type Held, type Lease, LeaseBook } from "@weir/pool/budgets/lease-book";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Central, keepMs, leaseMs } from "./central.ts";

// Pools and the store play every part of a budget's life against each other, in any order, with answers that are lost,
// pools that die, and clocks that differ.

const runs = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
const poolCount = 3;
const windowCount = 2;

/** A call that a pool made. */
interface Call {
  readonly held: Held;
  readonly pool: Pool;
  readonly beganMs: number;
  charge: number;
  state: "open" | "ended" | "recorded";
}

/** One process: its leases, and a clock that differs from the store's by a constant. */
class Pool {
  readonly book = new LeaseBook();
  readonly accounts: readonly Account[];
  readonly holder: string;
  private readonly skewMs: number;
  dead = false;

  constructor(holder: string, skewMs: number) {
    this.holder = holder;
    this.skewMs = skewMs;
    this.accounts = Array.from({ length: windowCount }, (_, index) => ({
      key: String(index),
      budget: `w${index}`,
      subject: "",
      lease: undefined,
    }));
  }

  now(central: Central): number {
    return central.nowMs + this.skewMs;
  }
}

class World {
  readonly central: Central;
  pools: Pool[];
  readonly calls: Call[] = [];
  private born = 0;

  constructor(limits: readonly number[]) {
    this.central = new Central(limits.map(BigInt));
    this.pools = Array.from({ length: poolCount }, () => this.newPool());
  }

  private newPool(): Pool {
    this.born += 1;
    return new Pool(`pool-${this.born}`, this.born * 1_000_003);
  }

  /** Asks the store for what is lacking. */
  acquire(pool: Pool, windows: readonly number[], amount: number, ahead: number, isLost: boolean): void {
    const askedMs = pool.now(this.central);
    const asks = windows
      .map((window) => ({
        window,
        needed: BigInt(pool.book.lacks(pool.accounts[window] as Account, amount, askedMs)),
        preferred: BigInt(amount + ahead),
      }))
      .filter(({ needed }) => needed > 0n);
    if (asks.length === 0) return;
    const granted = this.central.acquire(pool.holder, asks);
    if (typeof granted === "string" || isLost) return;
    for (const lease of granted) {
      const account = pool.accounts[Number(lease.window.name.slice(1))] as Account;
      const word = {
        id: lease.id,
        grantedTotal: Number(lease.grantedTotal),
        expiresInMs: leaseMs,
        windowEndsInMs: Infinity,
      };
      pool.book.learn(account, word, askedMs);
    }
  }

  begin(pool: Pool, windows: readonly number[], amount: number): void {
    const accounts = windows.map((window) => pool.accounts[window] as Account);
    const held = pool.book.take(accounts, amount, pool.now(this.central));
    if (held !== undefined) this.calls.push({ held, pool, beganMs: this.central.nowMs, charge: 0, state: "open" });
  }

  extend({ held, pool }: Call, amount: number): void {
    pool.book.extend(held, amount, pool.now(this.central));
  }

  /** The call ends with its usage known; the ledger hears of it later. */
  end(call: Call, wanted: number): void {
    if (call.pool.dead) call.charge = Math.min(wanted, call.held.amount);
    else call.charge = call.pool.book.settle(call.held, wanted, call.pool.now(this.central));
    call.state = "ended";
  }

  record(call: Call): void {
    this.central.settle(
      call.held.leases.map(({ id }) => id),
      BigInt(call.charge),
    );
    call.state = "recorded";
  }

  renew(pool: Pool, part: number, lost: "nothing" | "answer" | "all"): void {
    for (const lease of pool.book.all) pool.book.giveBack(lease, Math.floor(lease.free * part));
    if (lost === "all") return;
    const askedMs = pool.now(this.central);
    for (const lease of pool.book.all) {
      const lives = this.central.renew(lease.id, BigInt(lease.returnedTotal));
      if (lost === "answer") continue;
      if (!lives) pool.book.end(lease.id);
      else {
        const { grantedTotal } = this.central.lease(lease.id);
        const word = {
          id: lease.id,
          grantedTotal: Number(grantedTotal),
          expiresInMs: leaseMs,
          windowEndsInMs: Infinity,
        };
        pool.book.learn(lease.account, word, askedMs);
      }
    }
  }

  /** A pool dies; its journal settles what was open, and another process takes its place. */
  crash(index: number): void {
    const pool = this.pools[index] as Pool;
    pool.dead = true;
    for (const call of this.calls) if (call.pool === pool && call.state === "open") this.end(call, call.held.amount);
    this.pools[index] = this.newPool();
  }

  /** Time passes. No call runs, or is on its way to the ledger, for longer than leases cover it. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 1) {
      this.central.nowMs += 1;
      for (const call of this.calls) {
        if (call.state === "recorded" || this.central.nowMs - call.beganMs < keepMs) continue;
        if (call.state === "open") this.end(call, call.held.amount);
        this.record(call);
      }
    }
  }

  check(): void {
    for (const window of this.central.windows) {
      expect(window.spent + window.leased).toBeLessThanOrEqual(window.limit);
      expect(window.late).toBe(0n);
      const leased = this.central.leases.filter((lease) => lease.window === window);
      expect(leased.reduce((sum, lease) => sum + lease.outstanding, 0n)).toBe(window.leased);
    }
    // What the store has in a lease covers everything that may still be charged to it.
    const due = new Map<bigint, number>();
    const add = ({ id }: Lease, amount: number) => due.set(id, (due.get(id) ?? 0) + amount);
    for (const { state, held, charge } of this.calls) {
      if (state !== "recorded") for (const lease of held.leases) add(lease, state === "open" ? held.amount : charge);
    }
    for (const pool of this.pools) for (const lease of pool.book.all) add(lease, lease.free);
    for (const [id, amount] of due) {
      const lease = this.central.lease(id);
      if (!lease.ended) expect(lease.outstanding).toBeGreaterThanOrEqual(BigInt(amount));
    }
  }
}

const amount = fc.integer({ min: 1, max: 40 });
const windows = fc.constantFrom([0], [1], [0, 1]);
const pool = fc.nat({ max: poolCount - 1 });
const pick = fc.nat({ max: 1_000 });
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("call" as const),
      pool,
      windows,
      amount,
      ahead: amount,
      isLost: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("extend" as const), pick, amount }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("end" as const), pick, amount }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("record" as const), pick }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("renew" as const),
      pool,
      part: fc.constantFrom(0, 0.5, 1),
      lost: fc.constantFrom("nothing" as const, "answer" as const, "all" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("crash" as const), pool }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 80 }) }) },
);

test("whatever interleaves, spent and leased stay within every limit, and each charge counts once", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 200 }), { minLength: windowCount, maxLength: windowCount }),
      fc.array(step, { minLength: 1, maxLength: 60 }),
      (limits, steps) => {
        const world = new World(limits);
        const open = (index: number, state: Call["state"]) => {
          const some = world.calls.filter((call) => call.state === state);
          return some[index % Math.max(1, some.length)];
        };
        for (const action of steps) {
          if (action.kind === "call") {
            const by = world.pools[action.pool] as Pool;
            world.acquire(by, action.windows, action.amount, action.ahead, action.isLost);
            world.begin(by, action.windows, action.amount);
          } else if (action.kind === "renew") world.renew(world.pools[action.pool] as Pool, action.part, action.lost);
          else if (action.kind === "crash") world.crash(action.pool);
          else if (action.kind === "pass") world.pass(action.ms);
          else {
            const call = open(action.pick, action.kind === "record" ? "ended" : "open");
            if (call === undefined) continue;
            if (action.kind === "extend") world.extend(call, action.amount);
            else if (action.kind === "end") world.end(call, action.amount * 2);
            else world.record(call);
          }
          world.check();
        }
        for (const call of world.calls) {
          if (call.state === "open") world.end(call, call.held.amount);
          if (call.state === "ended") world.record(call);
        }
        world.check();
        world.central.windows.forEach((window) => {
          const charged = world.calls.filter(({ held }) =>
            held.leases.some(({ account }) => account.budget === window.name),
          );
          expect(window.spent).toBe(BigInt(charged.reduce((sum, { charge }) => sum + charge, 0)));
        });
      },
    ),
    { numRuns: runs },
  );
});
