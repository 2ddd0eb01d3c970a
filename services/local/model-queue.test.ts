import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Clock } from "@weir/kit/clock";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createModelQueue, type ModelQueueOptions, type Place } from "./model-queue.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
const never = new AbortController().signal;

/** A clock that stands until it is moved. */
function standingClock() {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; call(): void }>();
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs, call) {
      const timer = { atMs: nowMs + delayMs, call };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
  };
  const pass = (ms: number) => {
    nowMs += ms;
    for (const timer of [...timers].filter(({ atMs }) => atMs <= nowMs)) {
      timers.delete(timer);
      timer.call();
    }
  };
  return { clock, pass, timers };
}

/** A queue over models that are their names, with what happened to them. */
function setUp(options: Partial<ModelQueueOptions<string>> = {}) {
  const standing = standingClock();
  const happened: string[] = [];
  const inMemory = new Set<string>();
  let mostInMemory = 0;
  const queue = createModelQueue<string>({
    load: async (name) => {
      happened.push(`load ${name}`);
      inMemory.add(name);
      mostInMemory = Math.max(mostInMemory, inMemory.size);
      await settled();
      return name;
    },
    unload: async (name) => {
      await settled();
      happened.push(`unload ${name}`);
      inMemory.delete(name);
    },
    bytesOf: () => 10,
    memoryBytesMax: 1_000,
    modelsMax: 1,
    placesMax: 2,
    queueMax: 100,
    waitMs: 1_000,
    clock: standing.clock,
    ...options,
  });
  const enter = async (name: string, signal = never) => {
    const place = await queue.enter(name, signal);
    happened.push(`enter ${name}`);
    return place;
  };
  return { ...standing, queue, enter, happened, mostInMemory: () => mostInMemory };
}

/** Until all that could happen at once has happened. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function reasonOf(work: Promise<unknown>): Promise<WeirError> {
  const thrown: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(WeirError);
  return thrown as WeirError;
}

test("a model that is always busy keeps no other out: who needs a change of models is passed by nobody", async () => {
  const { enter, happened } = setUp();
  const [first, second] = [await enter("a"), await enter("a")];
  const other = enter("b");
  const later = enter("a");
  first.release();
  await settled();
  expect(happened).toEqual(["load a", "enter a", "enter a"]);
  second.release();
  (await other).release();
  (await later).release();
  expect(happened.slice(3)).toEqual(["unload a", "load b", "enter b", "unload b", "load a", "enter a"]);
});

test("who waits for a full model is passed by who finds a free place at another", async () => {
  const { enter, happened } = setUp({ modelsMax: 2, placesMax: 1 });
  const busy = await enter("a");
  const waiting = enter("a");
  (await enter("b")).release();
  expect(happened.at(-1)).toBe("enter b");
  busy.release();
  (await waiting).release();
});

test("of idle models the one that was used last stays", async () => {
  const { enter, pass, queue } = setUp({ modelsMax: 2 });
  for (const name of ["a", "b", "a", "c"]) {
    pass(10);
    (await enter(name)).release();
  }
  expect(queue.loaded().toSorted()).toEqual(["a", "c"]);
});

test("models that do not fit into memory together take turns, though more were allowed", async () => {
  const bytes: Readonly<Record<string, number>> = { small: 300, large: 800 };
  const { enter, queue } = setUp({ modelsMax: 5, bytesOf: (name) => bytes[name] ?? 0 });
  (await enter("small")).release();
  (await enter("large")).release();
  expect(queue.loaded()).toEqual(["large"]);
});

test("who finds the queue full is refused at once, with a time to come back", async () => {
  const { enter, queue } = setUp({ placesMax: 1, queueMax: 1 });
  const place = await enter("a");
  const waiting = enter("a");
  const refused = await reasonOf(enter("a"));
  expect(refused.reason).toBe(ErrorReason.OVERLOADED);
  expect(refused.retryAfterMs).toBeGreaterThanOrEqual(1_000);
  place.release();
  (await waiting).release();
  await queue.close();
});

test("without a queue a free place is still given, and a model still loaded", async () => {
  const { enter } = setUp({ placesMax: 1, queueMax: 0 });
  const place = await enter("a");
  expect((await reasonOf(enter("a"))).reason).toBe(ErrorReason.OVERLOADED);
  place.release();
  (await enter("a")).release();
  const changing = enter("b");
  expect((await reasonOf(enter("a"))).reason).toBe(ErrorReason.OVERLOADED);
  (await changing).release();
});

test("a wait ends in time, also while a model is loaded, and leaves no timer behind", async () => {
  const { enter, pass, timers } = setUp({ load: () => new Promise(() => {}) });
  const waiting = reasonOf(enter("a"));
  await settled();
  pass(1_000);
  expect((await waiting).reason).toBe(ErrorReason.OVERLOADED);
  expect(timers.size).toBe(0);
});

test("who gives up leaves the queue, and those behind move up", async () => {
  const { enter } = setUp({ placesMax: 1 });
  const place = await enter("a");
  const giveUp = new AbortController();
  const gone = enter("b", giveUp.signal);
  const behind = enter("a");
  giveUp.abort();
  await expect(gone).rejects.toThrow(CallCancelled);
  place.release();
  (await behind).release();
});

test("a model that cannot be loaded fails those who wait for it and nobody else, and is tried again", async () => {
  let broken = true;
  const { enter } = setUp({
    load: async (name) => {
      await settled();
      if (name === "a" && broken) throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
      return name;
    },
  });
  const both = [reasonOf(enter("a")), reasonOf(enter("a"))];
  const other = enter("b");
  for (const failed of both) expect((await failed).reason).toBe(ErrorReason.PROVIDER_UNAVAILABLE);
  (await other).release();
  broken = false;
  (await enter("a")).release();
});

test("closing waits for who runs, turns away who waits, and unloads all", async () => {
  const { enter, queue, happened } = setUp({ placesMax: 1 });
  const place = await enter("a");
  const waiting = reasonOf(enter("a"));
  const closed = queue.close();
  expect((await waiting).reason).toBe(ErrorReason.OVERLOADED);
  expect((await reasonOf(enter("a"))).reason).toBe(ErrorReason.OVERLOADED);
  place.release();
  await closed;
  expect(happened.at(-1)).toBe("unload a");
  expect(queue.loaded()).toEqual([]);
});

test("whoever comes and goes, everyone is served or refused, and no bound is passed", async () => {
  const step = fc.record({
    name: fc.constantFrom("a", "b", "c"),
    act: fc.constantFrom("enter", "release", "leave", "wait"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), async (steps, modelsMax) => {
      const { queue, pass, timers, mostInMemory } = setUp({ modelsMax, placesMax: 2, queueMax: 4 });
      const places: Place<string>[] = [];
      const ends: Promise<void>[] = [];
      const signals: AbortController[] = [];
      const most: Record<string, number> = {};
      for (const { name, act } of steps) {
        if (act === "enter") {
          const giveUp = new AbortController();
          signals.push(giveUp);
          ends.push(
            queue.enter(name, giveUp.signal).then(
              (place) => {
                expect(place.model).toBe(name);
                places.push(place);
                most[name] = Math.max(most[name] ?? 0, places.filter(({ model }) => model === name).length);
              },
              () => undefined,
            ),
          );
        } else if (act === "release") places.shift()?.release();
        else if (act === "leave") signals.shift()?.abort();
        else pass(600);
        await settled();
      }
      let left = ends.length;
      for (const end of ends) void end.then(() => (left -= 1));
      for (let round = 0; left > 0 && round < 200; round += 1) {
        places.shift()?.release();
        await settled();
      }
      expect(left).toBe(0);
      for (const place of places) place.release();
      await queue.close();
      expect(mostInMemory()).toBeLessThanOrEqual(modelsMax);
      expect(Math.max(0, ...Object.values(most))).toBeLessThanOrEqual(2);
      expect(timers.size).toBe(0);
    }),
    { numRuns: Math.ceil(numRuns / 5) },
  );
});
