import { create } from "@bufbuild/protobuf";
import { GenerateRequestSchema, type GenerateResponse } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type Clock, systemClock } from "@weir/kit/clock";
import { createLog } from "@weir/kit/log";
import { streamOf } from "@weir/kit/reply-stream";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { edgeSettings } from "../../config.ts";
import { type Admission, createLimits, type Limited } from "../../limits/limits.ts";
import { jsonHead, wire } from "../../testing/harness.ts";
import { type BackgroundDeps, type BackgroundOrder, createBackgroundWork } from "./background.ts";
import { createByteRoom } from "./byte-room.ts";

const limited: Limited = { id: "k", subjects: [], tokensPerMinute: 1_000, concurrentRequests: 3 };

function setUp(
  backgroundMax: number,
  answer: () => AsyncGenerator<GenerateResponse, void, undefined>,
  {
    finishResponse = () => Promise.resolve({}),
    clock = systemClock,
  }: { finishResponse?: () => Promise<object>; clock?: Clock } = {},
) {
  const settings = edgeSettings();
  const limits = createLimits({
    clock: systemClock,
    defaults: () => settings,
    subject: () => undefined,
    aliases: () => settings.aliasLimits,
    onRefused: () => undefined,
  });
  const background = createBackgroundWork({
    chat: { generate: () => streamOf(answer()) },
    conversations: {
      beginResponse: () => Promise.resolve({}),
      renewLeases: () => Promise.resolve({ endedLeaseIds: [] }),
      finishResponse,
    } as unknown as BackgroundDeps["conversations"],
    room: createByteRoom(1_000_000),
    settings: () => ({ ...settings, responses: { ...settings.responses, backgroundMax } }),
    clock,
    log: createLog({ service: "edge", level: "silent" }),
  });
  const body = Buffer.from('{"model":"m","input":"hi","background":true}');
  const request = create(GenerateRequestSchema, { model: "m", wire: { body } });
  const asked = { background: true, store: true, input: Buffer.from("[]") } as unknown as BackgroundOrder["asked"];
  const order = (admission: Admission, id: string, tenant: string): BackgroundOrder => ({
    request,
    asked,
    turns: [],
    own: request,
    metadata: {},
    caller: { id, tenant, principal: new Uint8Array(), collections: [], mayReach: () => true },
    admission,
  });
  const admit = (caller: Limited = limited) => limits.admit(caller) as Admission;
  return { limits, background, order, admit };
}

const reason = async (call: Promise<unknown>) => {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof WeirError ? { reason: error.reason, ...error.metadata } : error;
};

test("a response in the background holds its place to its end, and settles what it used", async () => {
  const going = Promise.withResolvers<void>();
  const body = JSON.stringify({ object: "response", status: "completed", output: [] });
  const { limits, background, order, admit } = setUp(8, async function* () {
    await going.promise;
    yield wire({ head: jsonHead, data: Buffer.from(body), tail: { usage: { inputTokens: 30, outputTokens: 12 } } });
  });
  const admission = admit();
  void admission.reserve("m", 500);
  await background.begin(order(admission, "k", "t"));
  // Its exchange is over.
  admission.settle(0);
  admission.end();
  expect(limits.standings(limited).tokens.remaining).toBe(500);
  const others = [admit(), admit()];
  expect(() => admit()).toThrow(WeirError);
  going.resolve();
  await background.finish();
  expect(limits.standings(limited).tokens.remaining).toBe(958);
  others.push(admit());
  for (const other of others) other.end();
});

test("one that fails before its answer begins used nothing", async () => {
  const { limits, background, order, admit } = setUp(8, async function* () {
    throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
  });
  const admission = admit();
  void admission.reserve("m", 500);
  await background.begin(order(admission, "k", "t"));
  await background.finish();
  expect(limits.standings(limited).tokens.remaining).toBe(1_000);
});

test("an end is kept while the store is away, and told when it is back", async () => {
  let nowMs = 0;
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => nowMs,
    after(delayMs, call) {
      const timer = setImmediate(() => {
        nowMs += delayMs;
        call();
      });
      return () => clearImmediate(timer);
    },
  };
  let tries = 0;
  const finishResponse = () => {
    tries += 1;
    return tries < 30 ? Promise.reject(new WeirError(ErrorReason.STORE_UNAVAILABLE)) : Promise.resolve({});
  };
  const body = Buffer.from(JSON.stringify({ object: "response", status: "completed", output: [] }));
  const answer = async function* () {
    yield wire({ head: jsonHead, data: body, tail: { usage: { inputTokens: 30, outputTokens: 12 } } });
  };
  const { background, order, admit } = setUp(8, answer, { finishResponse, clock });
  await background.begin(order(admit(), "k", "t"));
  await background.finish();
  expect(tries).toBe(30);
  expect(nowMs).toBeGreaterThan(60_000);
});

test("an edge that gives up waits no longer for a store that is away", async () => {
  const tried = Promise.withResolvers<void>();
  const finishResponse = () => {
    tried.resolve();
    return Promise.reject(new WeirError(ErrorReason.STORE_UNAVAILABLE));
  };
  const answer = async function* () {
    throw new WeirError(ErrorReason.PROVIDER_UNAVAILABLE);
  };
  const standing: Clock = { ...systemClock, after: () => () => undefined };
  const { background, order, admit } = setUp(8, answer, { finishResponse, clock: standing });
  await background.begin(order(admit(), "k", "t"));
  await tried.promise;
  await background.giveUp();
});

test("no key and no tenant gets all places, however many come at once", async () => {
  const { background, order, admit } = setUp(8, async function* () {
    yield await new Promise<never>(() => undefined);
  });
  const wide: Limited = { id: "wide", subjects: [] };
  const begin = (id: string, tenant: string) => background.begin(order(admit(wide), id, tenant));
  const outcomes = await Promise.all(Array.from({ length: 6 }, () => reason(begin("k", "t"))));
  expect(outcomes.filter((outcome) => outcome === undefined)).toHaveLength(4);
  const refused = { reason: ErrorReason.RATE_LIMITED, limit: "concurrent" };
  expect(outcomes[5]).toEqual({ ...refused, scope: "key" });
  for (const id of ["l", "m"]) expect(await reason(begin(id, "t"))).toBeUndefined();
  expect(await reason(begin("n", "t"))).toEqual({ ...refused, scope: "tenant" });
  for (const id of ["o", "p"]) expect(await reason(begin(id, "u"))).toBeUndefined();
  expect(await reason(begin("q", "u"))).toEqual({ reason: ErrorReason.OVERLOADED });
  background.close();
});
