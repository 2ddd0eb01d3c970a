import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { afterEach, expect, test } from "vitest";
import type { Clock } from "../clock.ts";
import { until } from "../conformance/ways.ts";
import { createMesh, type Mesh } from "../mesh.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
});

interface OwnClock extends Clock {
  /** Calls what is due within so much time, in its order. */
  pass(ms: number): void;
}

/** Time that passes only when it is told to. */
function ownClock(): OwnClock {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly call: () => void }>();
  return {
    now: () => now,
    monotonic: () => now,
    after(delayMs, call) {
      const timer = { at: now + delayMs, call };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    pass(ms) {
      const end = now + ms;
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at);
        if (next === undefined) break;
        timers.delete(next);
        now = next.at;
        next.call();
      }
      now = end;
    },
  };
}

/** An instance of the router; its name comes back in its answers. */
async function serve(name: string, listen = "127.0.0.1:0"): Promise<{ mesh: Mesh; address: string }> {
  const mesh = createMesh({ name, listen });
  cleanups.push(() => mesh.close());
  mesh.host("router", RouteService, { getRoute: (request) => ({ route: { name: request.name, alias: name } }) });
  await mesh.start();
  return { mesh, address: mesh.status().address ?? "" };
}

async function call(clock: Clock, addresses: readonly string[]) {
  // Time leaps, and no peer is dead for that.
  const link = { pingIntervalMs: Number.MAX_SAFE_INTEGER };
  const mesh = createMesh({ name: "caller", peers: { router: addresses }, clock, random: () => 0.5, link });
  cleanups.push(() => mesh.close());
  const routes = mesh.client(RouteService, "router");
  await mesh.start();
  return {
    states: () => mesh.status().peers["router"]?.map(({ state }) => state),
    failures: (index: number) => mesh.status().peers["router"]?.[index]?.failures ?? 0,
    answeredBy: async () => (await routes.getRoute({ name: "routes/a" })).route?.alias,
  };
}

/** Lets an instance fail so often that its next attempt is seconds away. */
async function tireOf(clock: OwnClock, failures: () => number): Promise<void> {
  for (const before = failures(); failures() < before + 7; ) {
    const count = failures();
    clock.pass(5000);
    await until(() => failures() > count);
  }
}

test("an instance that came back is found at once when the other one leaves", async () => {
  const clock = ownClock();
  const first = await serve("first");
  const second = await serve("second");
  const peers = await call(clock, [first.address, second.address]);
  await until(() => peers.states()?.join() === "ready,ready");

  await first.mesh.drain(1000);
  await until(() => peers.states()?.[0] === "waiting");
  await tireOf(clock, () => peers.failures(0));
  await serve("first again", first.address);
  await second.mesh.drain(1000);
  await until(() => peers.states()?.[1] === "waiting");

  const answer = peers.answeredBy();
  clock.pass(50);
  expect(await answer).toBe("first again");
});

test("while no instance is ready each is tried twice a second", async () => {
  const clock = ownClock();
  const only = await serve("only");
  const peers = await call(clock, [only.address]);
  await until(() => peers.states()?.[0] === "ready");
  await only.mesh.drain(1000);
  await until(() => peers.states()?.[0] === "waiting");
  await tireOf(clock, () => peers.failures(0));
  await serve("again", only.address);
  clock.pass(500);
  await until(() => peers.states()?.[0] === "ready");
  expect(await peers.answeredBy()).toBe("again");
});
