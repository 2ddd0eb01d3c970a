import { randomUUID } from "node:crypto";
import { durationFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { ResponseState } from "@weir/gen/weir/conversation/v1/response_pb";
import type { Client } from "@weir/kit/call";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { migrate } from "../migrate.ts";
import { openTestDatabase, type TestDatabase } from "../testing.ts";
import { createResponseStore } from "./response-store.ts";
import { startSweeper } from "./sweeper.ts";
import { as, conversationsOn } from "./testing.ts";

const numRuns = Math.ceil(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000) / 50);
const day = durationFromMs(86_400_000);
const minute = durationFromMs(60_000);
const input = Buffer.from('"Grüße \\u0000"');

/** What a response looks like: its output is the list of one word. */
function reply(word: string) {
  const head = `{"id":"x","output":`;
  const output = JSON.stringify([word]);
  return {
    response: Buffer.from(`${head}${output},"n":12345678901234567890}`),
    output: { start: head.length, end: head.length + output.length },
  };
}

describe.each(["embedded", "postgres"] as const)("stored responses, %s", (engine) => {
  let db: TestDatabase;
  let client: Client<typeof ConversationService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    await migrate(db.database);
    client = await conversationsOn(db.database);
  });
  afterAll(() => db.end());
  beforeEach(() => db.query("delete from responses"));

  const store = (responseId: string, more: Record<string, unknown> = {}, tenant = "acme") =>
    client.storeResponse(
      { responseId, state: ResponseState.COMPLETED, input, timeToLive: day, ...reply(responseId), ...more },
      as(tenant),
    );
  const begin = (responseId: string, leaseId: string, more: Record<string, unknown> = {}) =>
    client.beginResponse(
      { responseId, input, response: Buffer.from("{}"), leaseId, lease: minute, timeToLive: day, ...more },
      as("acme"),
    );
  const stateOf = async (responseId: string) =>
    (await client.getResponse({ responseId }, as("acme"))).response?.state ?? ResponseState.UNSPECIFIED;
  const expire = (responseId: string) =>
    db.query("update responses set expire_time = now() where response_id = $1", [responseId]);
  const lapse = (leaseId: string) =>
    db.query("update responses set lease_expire_time = now() where lease_id = $1", [leaseId]);
  const notFound = { reason: ErrorReason.NOT_FOUND };

  test("what is stored is read as it was, byte for byte", async () => {
    await store("r1", { previousResponseId: "r0", state: ResponseState.INCOMPLETE });
    const { response } = await client.getResponse({ responseId: "r1" }, as("acme"));
    expect(response).toMatchObject({
      responseId: "r1",
      previousResponseId: "r0",
      background: false,
      state: ResponseState.INCOMPLETE,
    });
    expect(Buffer.from(response?.response ?? [])).toEqual(reply("r1").response);
    const created = response?.createTime === undefined ? 0 : timestampMs(response.createTime);
    const expires = response?.expireTime === undefined ? 0 : timestampMs(response.expireTime);
    expect(expires - created).toBe(86_400_000);
  });

  test("another tenant's response looks like one that never was, whatever is asked", async () => {
    await store("r1");
    await begin("b1", randomUUID());
    for (const responseId of ["r1", "b1", "never"]) {
      const calls = [
        () => client.getResponse({ responseId }, as("other")),
        () => client.deleteResponse({ responseId }, as("other")),
        () => client.cancelResponse({ responseId }, as("other")),
        () => client.getHistory({ responseId }, as("other")),
      ];
      for (const call of calls) {
        await expect(call()).rejects.toMatchObject({ ...notFound, metadata: { resource: responseId } });
      }
    }
    await store("r1", reply("theirs"), "other");
    expect(await stateOf("r1")).toBe(ResponseState.COMPLETED);
    const { response } = await client.getResponse({ responseId: "r1" }, as("acme"));
    expect(Buffer.from(response?.response ?? [])).toEqual(reply("r1").response);
  });

  test("a call without a principal is refused", async () => {
    await expect(client.getResponse({ responseId: "r1" }, {})).rejects.toMatchObject({
      reason: ErrorReason.INVALID_REQUEST,
    });
  });

  test("storing the same again changes nothing, storing another under its id is refused", async () => {
    await store("r1");
    await store("r1");
    await expect(store("r1", reply("other"))).rejects.toMatchObject({ reason: ErrorReason.ALREADY_EXISTS });
    await expect(begin("r1", randomUUID())).rejects.toMatchObject({ reason: ErrorReason.ALREADY_EXISTS });
    expect(await db.query("select count(*) from responses")).toEqual([{ count: "1" }]);
  });

  test("what expired is gone at once, and its id is free", async () => {
    await store("r1");
    await expire("r1");
    const { metadata } = as("acme");
    await expect(client.getResponse({ responseId: "r1" }, { metadata })).rejects.toMatchObject(notFound);
    await expect(client.getHistory({ responseId: "r1" }, { metadata })).rejects.toMatchObject(notFound);
    await expect(client.deleteResponse({ responseId: "r1" }, { metadata })).rejects.toMatchObject(notFound);
    await store("r2");
    await expire("r2");
    await store("r2", reply("again"));
    expect(await stateOf("r2")).toBe(ResponseState.COMPLETED);
  });

  test("a history is the turns of a chain, the oldest first", async () => {
    await store("a");
    await store("b", { previousResponseId: "a", input: Buffer.from("[1]") });
    await store("c", { previousResponseId: "b", output: undefined });
    await store("sibling", { previousResponseId: "a" });
    const { turns, state } = await client.getHistory({ responseId: "c" }, as("acme"));
    expect(state).toBe(ResponseState.COMPLETED);
    expect(
      turns.map((turn) => [turn.responseId, Buffer.from(turn.input).toString(), Buffer.from(turn.output).toString()]),
    ).toEqual([
      ["a", input.toString(), '["a"]'],
      ["b", "[1]", '["b"]'],
      ["c", input.toString(), ""],
    ]);
  });

  const holding = (...ids: unknown[]) => {
    const output = JSON.stringify(ids.map((id) => ({ type: "message", id })));
    return { response: Buffer.from(`{"output":${output}}`), output: { start: 10, end: 10 + output.length } };
  };
  const outputsWith = async (itemIds: string[], more: { bytesMax?: number } = {}, tenant = "acme") =>
    (await client.findItems({ itemIds, ...more }, as(tenant))).outputs.map((output) => Buffer.from(output).toString());

  test("items are found by their ids, those of the newest response first, by their tenant alone, while it is there", async () => {
    await store("a", holding("msg_1", "fc_1"));
    await db.query("update responses set create_time = now() - interval '1 minute'");
    await store("b", holding("msg_1"));
    await store("c", holding("msg_3"));
    await store("a", holding("msg_1"), "other");
    expect(await outputsWith(["msg_1", "never"])).toEqual([
      '[{"type":"message","id":"msg_1"}]',
      '[{"type":"message","id":"msg_1"},{"type":"message","id":"fc_1"}]',
    ]);
    expect(await outputsWith(["fc_1"], {}, "other")).toEqual([]);
    expect(await outputsWith(["msg_1"], {}, "other")).toHaveLength(1);
    await client.deleteResponse({ responseId: "b" }, as("acme"));
    expect(await outputsWith(["msg_1"])).toHaveLength(1);
    await expire("a");
    expect(await outputsWith(["msg_1"])).toEqual([]);
    await db.query("delete from responses");
    expect(await db.query("select from response_items")).toEqual([]);
  });

  test("items of a response that was made in the background are found when it has ended", async () => {
    const leaseId = randomUUID();
    await begin("a", leaseId);
    expect(await outputsWith(["msg_1"])).toEqual([]);
    await client.finishResponse({ leaseId, state: ResponseState.COMPLETED, ...holding("msg_1") });
    expect(await outputsWith(["msg_1"])).toHaveLength(1);
  });

  test("outputs that are too large are refused and not read", async () => {
    await store("a", holding("msg_1"));
    const bytesMax = '[{"type":"message","id":"msg_1"}]'.length;
    expect(await outputsWith(["msg_1"], { bytesMax })).toHaveLength(1);
    await expect(outputsWith(["msg_1"], { bytesMax: bytesMax - 1 })).rejects.toMatchObject({
      reason: ErrorReason.INVALID_REQUEST,
      metadata: { param: "input" },
    });
  });

  test.each([
    ["odd ids", holding("", 7, null, "x".repeat(257), "nul\0", "msg_1", "msg_1")],
    ["no list", { response: Buffer.from("{}"), output: { start: 0, end: 2 } }],
    ["no JSON", { response: Buffer.from("[{]"), output: { start: 0, end: 3 } }],
    ["no objects", { response: Buffer.from('[1,"a",null,[]]'), output: { start: 0, end: 15 } }],
  ])("a response whose output has %s is stored all the same", async (_, content) => {
    await store("a", content);
    expect(await stateOf("a")).toBe(ResponseState.COMPLETED);
  });

  test("an expired turn is read as long as a later one is there, a deleted one ends the conversation", async () => {
    await store("a");
    await store("b", { previousResponseId: "a" });
    await expire("a");
    expect((await client.getHistory({ responseId: "b" }, as("acme"))).turns).toHaveLength(2);
    const responses = createResponseStore(db.database);
    expect(await responses.sweep(10)).toBe(0);
    await db.query("delete from responses where response_id = 'a'");
    await expect(client.getHistory({ responseId: "b" }, as("acme"))).rejects.toMatchObject(notFound);
    const { turns } = await client.getHistory({ responseId: "b", partial: true }, as("acme"));
    expect(turns.map(({ responseId }) => responseId)).toEqual(["b"]);
  });

  test("a history that is too long is refused and not read", async () => {
    await store("t0");
    for (let n = 1; n < 6; n++) await store(`t${n}`, { previousResponseId: `t${n - 1}` });
    const ask = (bounds: object) => client.getHistory({ responseId: "t5", ...bounds }, as("acme"));
    const refused = { reason: ErrorReason.INVALID_REQUEST, metadata: { param: "previous_response_id" } };
    const bytes = 6 * (input.length + '["t0"]'.length);
    expect((await ask({ turnsMax: 6, bytesMax: bytes })).turns).toHaveLength(6);
    await expect(ask({ turnsMax: 5 })).rejects.toMatchObject(refused);
    await expect(ask({ bytesMax: bytes - 1 })).rejects.toMatchObject(refused);
  });

  test("a chain that bites its tail ends", async () => {
    await store("a", { previousResponseId: "b" });
    await store("b", { previousResponseId: "a" });
    await expect(client.getHistory({ responseId: "a", turnsMax: 50 }, as("acme"))).rejects.toMatchObject({
      reason: ErrorReason.INVALID_REQUEST,
    });
  });

  test("whatever the tree of continuations, a history is the way from its root", async () => {
    const parents = fc.array(fc.nat(), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(parents, async (choices) => {
        await db.query("delete from responses");
        const ways: string[][] = [];
        for (const [index, choice] of choices.entries()) {
          const parent = choice % (index + 1);
          const way = parent === index ? [] : (ways[parent] ?? []);
          ways.push([...way, `r${index}`]);
          await store(`r${index}`, { previousResponseId: way.at(-1) ?? "" });
        }
        for (const [index, way] of ways.entries()) {
          const { turns } = await client.getHistory({ responseId: `r${index}` }, as("acme"));
          expect(turns.map(({ responseId }) => responseId)).toEqual(way);
        }
      }),
      { numRuns },
    );
  });

  test("the sweeper takes what expired, in small batches and leaves first", async () => {
    await store("a");
    await store("b", { previousResponseId: "a" });
    await store("c");
    await store("kept");
    for (const responseId of ["a", "b", "c"]) await expire(responseId);
    const responses = createResponseStore(db.database);
    expect([await responses.sweep(2), await responses.sweep(2), await responses.sweep(2)]).toEqual([2, 1, 0]);
    expect(await db.query("select response_id from responses")).toEqual([{ response_id: "kept" }]);
  });

  test("a response in the background ends once, as its maker says", async () => {
    const leaseId = randomUUID();
    await begin("b1", leaseId, { previousResponseId: "a" });
    expect(await stateOf("b1")).toBe(ResponseState.IN_PROGRESS);
    const end = { leaseId, state: ResponseState.COMPLETED, ...reply("b1") };
    expect((await client.finishResponse(end)).accepted).toBe(true);
    expect((await client.finishResponse(end)).accepted).toBe(true);
    expect((await client.finishResponse({ ...end, state: ResponseState.FAILED })).accepted).toBe(false);
    const { response } = await client.cancelResponse({ responseId: "b1" }, as("acme"));
    expect(response).toMatchObject({ state: ResponseState.COMPLETED, background: true, previousResponseId: "a" });
    expect(Buffer.from(response?.response ?? [])).toEqual(reply("b1").response);
  });

  test("a cancelled response stays cancelled, and its maker learns of it", async () => {
    const [cancelled, deleted, going] = [randomUUID(), randomUUID(), randomUUID()];
    await begin("b1", cancelled);
    await begin("b2", deleted);
    await begin("b3", going);
    for (let count = 0; count < 2; count++) {
      const { response } = await client.cancelResponse({ responseId: "b1" }, as("acme"));
      expect(response?.state).toBe(ResponseState.CANCELLED);
    }
    await client.deleteResponse({ responseId: "b2" }, as("acme"));
    const renewed = await client.renewLeases({ leaseIds: [cancelled, deleted, going], lease: minute });
    expect(renewed.endedLeaseIds).toEqual([cancelled, deleted]);
    for (const leaseId of [cancelled, deleted]) {
      const end = { leaseId, state: ResponseState.COMPLETED, ...reply("late") };
      expect((await client.finishResponse(end)).accepted).toBe(false);
    }
    expect(await stateOf("b1")).toBe(ResponseState.CANCELLED);
  });

  test("a response whose lease ran out has failed, for good", async () => {
    const leaseId = randomUUID();
    await begin("b1", leaseId);
    await lapse(leaseId);
    expect(await stateOf("b1")).toBe(ResponseState.FAILED);
    expect((await client.renewLeases({ leaseIds: [leaseId], lease: minute })).endedLeaseIds).toEqual([leaseId]);
    const end = { leaseId, state: ResponseState.COMPLETED, ...reply("late") };
    expect((await client.finishResponse(end)).accepted).toBe(false);
    expect((await client.cancelResponse({ responseId: "b1" }, as("acme"))).response?.state).toBe(ResponseState.FAILED);
    expect((await client.getHistory({ responseId: "b1" }, as("acme"))).state).toBe(ResponseState.FAILED);
  });

  test("a lease that ran out while nobody looked, as when the store was away, is its maker's still", async () => {
    const [late, later] = [randomUUID(), randomUUID()];
    await begin("b1", late);
    await begin("b2", later);
    await lapse(late);
    await lapse(later);
    expect((await client.renewLeases({ leaseIds: [later], lease: minute })).endedLeaseIds).toEqual([]);
    expect(await stateOf("b2")).toBe(ResponseState.IN_PROGRESS);
    const end = { leaseId: late, state: ResponseState.COMPLETED, ...reply("b1") };
    expect((await client.finishResponse(end)).accepted).toBe(true);
    expect(await stateOf("b1")).toBe(ResponseState.COMPLETED);
  });

  test("a lease that is renewed lasts from then on", async () => {
    const leaseId = randomUUID();
    await begin("b1", leaseId, { lease: durationFromMs(200) });
    await client.renewLeases({ leaseIds: [leaseId], lease: minute });
    const [row] = await db.query("select lease_expire_time - now() > interval '50 s' as long from responses");
    expect(row).toEqual({ long: true });
  });

  test("what is not in the background cannot be cancelled", async () => {
    await store("r1");
    await expect(client.cancelResponse({ responseId: "r1" }, as("acme"))).rejects.toMatchObject({
      reason: ErrorReason.INVALID_REQUEST,
    });
  });
});

test("the sweeper goes on until little is left, and comes again", async () => {
  const counts = [200, 200, 3, 0];
  const due: (() => void)[] = [];
  let asked = 0;
  const sweeper = startSweeper({
    store: { sweep: () => Promise.resolve(counts[asked++] ?? 0) },
    clock: { now: () => 0, monotonic: () => 0, after: (_, call) => (due.push(call), () => due.splice(0)) },
    log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  due.shift()?.();
  await expect.poll(() => due.length).toBe(1);
  expect(asked).toBe(3);
  due.shift()?.();
  await expect.poll(() => due.length).toBe(1);
  expect(asked).toBe(4);
  sweeper.stop();
  expect(due).toEqual([]);
});
