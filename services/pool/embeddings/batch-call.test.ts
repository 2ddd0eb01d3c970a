import { create } from "@bufbuild/protobuf";
import { openaiEmbeddingsDoor } from "@weir/dialect/embeddings/door";
import { GenerateRequestSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { AttemptOutcome } from "@weir/gen/weir/metering/v1/usage_event_pb";
import { TargetSchema } from "@weir/gen/weir/routing/v1/target_pb";
import { systemClock } from "@weir/kit/clock";
import { CallCancelled, WeirError } from "@weir/kit/weir-error";
import type { Dispatcher } from "undici";
import { expect, test } from "vitest";
import type { AttemptEnd, AttemptPlan } from "../attempt-plan.ts";
import { Attempt } from "../attempt.ts";
import { createProviderSet } from "../provider-set.ts";
import type { KeyUse } from "../providers/key-use.ts";
import { attemptRequest } from "../testing/pool-under-test.ts";
import { prepareCall } from "../upstream.ts";
import { totals } from "../usage-counts.ts";
import { BatchCall } from "./batch-call.ts";
import { BatchMember } from "./batch-member.ts";
import type { BatchDeps } from "./batch-single.ts";
import { turns } from "./batch-testing.ts";

const provider = createProviderSet(
  create(ConfigSchema, { providers: { p: { kind: ProviderKind.OPENAI, baseUrl: "http://127.0.0.1:1/v1" } } }),
).get("p");

function planOf(input: string): AttemptPlan {
  if (provider === undefined) throw new Error("no provider");
  const { attemptId, requestId, alias, request, target } = attemptRequest(
    { model: "m", input },
    {},
    openaiEmbeddingsDoor,
  );
  const facts = { attemptId, startTimeMs: 0, model: target.model };
  const call = prepareCall(create(GenerateRequestSchema, request), provider, facts);
  return {
    attemptId,
    requestId,
    principal: create(PrincipalSchema),
    alias,
    target: create(TargetSchema, target),
    hold: undefined,
    taking: undefined,
    priceId: "",
    provider,
    call,
    stream: false,
    hasLargerTarget: false,
    requestBody: request.wire.body,
    askedTier: undefined,
    reserved: totals(10, 0),
    timeouts: { connectMs: 1_000, firstTokenMs: 1_000, idleMs: 1_000, totalMs: 10_000 },
    startTimeMs: 0,
    startMs: systemClock.monotonic(),
  };
}

const key: KeyUse = { headers: [], accepted: () => undefined, failed: (failure) => failure };

/** Members of a call in a pool of which the test is in charge. */
function stage(more: Partial<BatchDeps> = {}, inputs: readonly string[] = ["one", "two"]) {
  const timers = new Set<() => void>();
  const clock = {
    ...systemClock,
    after(_: number, call: () => void) {
      timers.add(call);
      return () => void timers.delete(call);
    },
  };
  const sent: Dispatcher.DispatchHandler[] = [];
  const ends = new Map<string, AttemptEnd>();
  const state = { places: 0, closed: false };
  const dispatcher = {
    dispatch: (_: unknown, handler: Dispatcher.DispatchHandler) => sent.push(handler) > 0,
  } as unknown as Dispatcher;
  const deps: BatchDeps = {
    clock,
    keys: { use: () => key },
    takePlace() {
      state.places += 1;
      return undefined;
    },
    leavePlace: () => void (state.places -= 1),
    intend: () => undefined,
    begin: (plan, use, settled) =>
      new Attempt(plan, {
        clock,
        dispatcher,
        credentialHeaders: use.headers,
        judgeCredential: (failure) => failure,
        progressIntervalMs: 1_000,
        progress: () => undefined,
        admitDrain: () => true,
        settled(end) {
          state.places -= 1;
          settled(end);
        },
      }),
    isClosed: () => state.closed,
    ...more,
  };
  const members = inputs.map((input) => {
    const plan = planOf(input);
    const joining = plan.call.embeddings?.joining();
    if (joining === undefined) throw new Error("cannot be joined");
    return new BatchMember(plan, joining, () => (end) => {
      if (ends.has(plan.attemptId)) throw new Error("a second settlement");
      ends.set(plan.attemptId, end);
    });
  });
  const told = Promise.allSettled(members.map(({ turn }) => turn));
  const call = new BatchCall(members, deps, () => undefined);
  return {
    state,
    sent,
    timers,
    members,
    call,
    outcomes: () => members.map(({ plan }) => ends.get(plan.attemptId)?.outcome),
    /** What the callers were told. */
    failures: async () =>
      (await told).map((result) => (result.status === "rejected" ? (result.reason as unknown) : "")),
  };
}

/** A credential that takes its time. */
function slowKey() {
  const { promise, resolve, reject } = Promise.withResolvers<KeyUse>();
  return { keys: { use: () => promise }, ready: () => resolve(key), fail: () => reject(new Error("no signature")) };
}

/** The vendor's answer to the one call that was sent. */
function answer([handler]: readonly Dispatcher.DispatchHandler[], status: number, body: string): void {
  const controller = {
    paused: false,
    abort: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  } as never;
  handler?.onRequestStart?.(controller, undefined);
  handler?.onResponseStart?.(controller, status, { "content-type": "application/json" }, "");
  handler?.onResponseData?.(controller, Buffer.from(body));
  handler?.onResponseEnd?.(controller, {});
}

const vectors = '{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}],"usage":{"prompt_tokens":2}}';

test("what was answered leaves no place taken and no timer behind", async () => {
  const on = stage();
  await on.call.run();
  expect(on.state.places).toBe(1);
  expect(on.timers.size).toBe(3);
  answer(on.sent, 200, vectors);
  expect(await on.failures()).toEqual(["", ""]);
  expect(on.outcomes()).toEqual([AttemptOutcome.COMPLETED, AttemptOutcome.COMPLETED]);
  expect(on.state.places).toBe(0);
  expect(on.timers.size).toBe(0);
});

test("a call whose callers leave while it is being signed is not sent", async () => {
  const slow = slowKey();
  const on = stage({ keys: slow.keys });
  const running = on.call.run();
  await turns();
  for (const member of on.members) member.leave(new CallCancelled());
  slow.ready();
  await running;
  expect(on.sent).toEqual([]);
  expect(on.outcomes()).toEqual([AttemptOutcome.CANCELLED, AttemptOutcome.CANCELLED]);
  expect(on.state.places).toBe(0);
});

test("nor is one in a pool that closes meanwhile", async () => {
  const slow = slowKey();
  const on = stage({ keys: slow.keys });
  const running = on.call.run();
  await turns();
  on.state.closed = true;
  slow.ready();
  await running;
  expect(on.sent).toEqual([]);
  for (const failure of await on.failures()) expect(failure).toMatchObject({ reason: ErrorReason.OVERLOADED });
  expect(on.outcomes()).toEqual([AttemptOutcome.CANCELLED, AttemptOutcome.CANCELLED]);
  expect(on.state.places).toBe(0);
});

test("a call that cannot be signed fails, and what is on record is settled", async () => {
  const slow = slowKey();
  const on = stage({ keys: slow.keys });
  const running = on.call.run();
  await turns();
  slow.fail();
  await running;
  expect(await on.failures()).toMatchObject([{ message: "no signature" }, { message: "no signature" }]);
  expect(on.outcomes()).toEqual([AttemptOutcome.FAILED, AttemptOutcome.FAILED]);
  expect(on.state.places).toBe(0);
});

test("a call of which no intent could be recorded gives its place back", async () => {
  const on = stage({
    intend() {
      throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
    },
  });
  await on.call.run();
  for (const failure of await on.failures()) expect(failure).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
  expect(on.outcomes()).toEqual([undefined, undefined]);
  expect(on.state.places).toBe(0);
});

test("one member's fault on the way to the journal does not hold the call when the others have gone", async () => {
  let count = 0;
  const intend = () => {
    count += 1;
    if (count === 1) throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
  };
  const on = stage({ intend }, ["one", "two", "three"]);
  await on.call.run();
  expect(on.sent).toHaveLength(1);
  for (const member of on.members.slice(1)) member.leave(new CallCancelled());
  expect(on.outcomes()).toEqual([undefined, AttemptOutcome.CANCELLED, AttemptOutcome.CANCELLED]);
  expect(on.state.places).toBe(0);
});

test.each(["leaves", "closes"])(
  "a refused call is not made again when its caller or the pool %s meanwhile",
  async (who) => {
    const slow = slowKey();
    let uses = 0;
    const on = stage({ keys: { use: () => (uses++ === 0 ? key : slow.keys.use()) } });
    await on.call.run();
    answer(on.sent, 400, '{"error":{"message":"no"}}');
    await turns();
    if (who === "closes") on.state.closed = true;
    else for (const member of on.members) member.leave(new CallCancelled());
    slow.ready();
    await on.failures();
    await turns();
    expect(on.sent).toHaveLength(1);
    expect(on.outcomes()).toEqual([AttemptOutcome.CANCELLED, AttemptOutcome.CANCELLED]);
    expect(on.state.places).toBe(0);
  },
);

test("a refused call that cannot be signed again fails", async () => {
  const slow = slowKey();
  let uses = 0;
  const on = stage({ keys: { use: () => (uses++ === 0 ? key : slow.keys.use()) } });
  await on.call.run();
  answer(on.sent, 400, '{"error":{"message":"no"}}');
  await turns();
  slow.fail();
  expect(await on.failures()).toMatchObject([{ message: "no signature" }, { message: "no signature" }]);
  expect(on.outcomes()).toEqual([AttemptOutcome.FAILED, AttemptOutcome.FAILED]);
  expect(on.state.places).toBe(0);
});
