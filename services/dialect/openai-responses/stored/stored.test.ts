import fc from "fast-check";
import { expect, test } from "vitest";
import type { JsonObject } from "../../json.ts";
import { openaiResponses } from "../codec.ts";
import { outputAsInput } from "../output-as-input.ts";
import { answerOptions, numRuns, reply } from "../testing.ts";
import { mayHoldState, readPieces } from "./events.ts";
import { type ItemPage, listItems, pageOf } from "./input-items.ts";
import { inForeground, inputOf, readStoredRequest, type StoredTurn, withHistory } from "./request.ts";
import { asCancelled, asFailed, asInProgress, isResponseId, readResponseFacts, writeQueued } from "./response.ts";
import { withMembers } from "./splice.ts";

const space = fc.constantFrom("", " ", "\n", "\t ");
const json = fc.jsonValue({ maxDepth: 2 });
const asciiName = fc.constantFrom("input", "model", "a", "previous_response_id", 'q"', "store");
const name = fc.oneof(asciiName, fc.constant("é"));

/** An object's text with odd spaces in it, and its members' texts. */
const object = fc
  .tuple(fc.uniqueArray(fc.tuple(name, json, space), { selector: ([key]) => key, maxLength: 6 }), space)
  .map(([members, gap]) => {
    const texts = members.map(
      ([key, value, around]) => `${gap}${JSON.stringify(key)}${around}:${around}${JSON.stringify(value)}${around}`,
    );
    return {
      text: `${gap}{${texts.join(",")}${gap}}`,
      value: Object.fromEntries(members.map(([key, value]) => [key, value])),
    };
  });

const parse = (bytes: Buffer | string): JsonObject => JSON.parse(bytes.toString()) as JsonObject;

test("setting members changes those members and nothing else", () => {
  fc.assert(
    fc.property(object, fc.dictionary(asciiName, json, { maxKeys: 3 }), ({ text, value }, members) => {
      const texts = Object.fromEntries(Object.entries(members).map(([key, member]) => [key, JSON.stringify(member)]));
      const set = withMembers(Buffer.from(text), texts);
      const expected = JSON.parse(JSON.stringify({ ...value, ...members })) as JsonObject;
      expect(parse(set)).toEqual(expected);
    }),
    { numRuns },
  );
});

test("setting a member to what it is leaves every byte", () => {
  const body = Buffer.from('{ "n" : 12345678901234567890 , "input":"\\u0041", "b": [ 1 ] }');
  expect(withMembers(body, { input: '"\\u0041"' }).toString()).toBe(body.toString());
});

test("what is not said is stored, in the foreground, by itself", () => {
  expect(readStoredRequest(Buffer.from('{"model":"m"}'))).toEqual({
    store: true,
    background: false,
    previousResponseId: undefined,
    references: [],
    inConversation: false,
    input: Buffer.from("[]"),
  });
  const body = Buffer.from(
    '{"input": "h\\u0069" ,"store":false,"background":null,"previous_response_id":"resp_\\u0061","conversation":null}',
  );
  expect(readStoredRequest(body)).toEqual({
    store: false,
    background: false,
    previousResponseId: "resp_a",
    inConversation: false,
    input: Buffer.from('"h\\u0069"'),
    references: [],
  });
});

test.each([
  ['{"store":1}', "store"],
  ['{"background":"yes"}', "background"],
  ['{"store":true,"store":false}', "store"],
  ['{"previous_response_id":"a","previous_response_id":"b"}', "previous_response_id"],
  ['{"previous_response_id":7}', "previous_response_id"],
  ['{"previous_response_id":""}', "previous_response_id"],
  [`{"previous_response_id":"${"x".repeat(257)}"}`, "previous_response_id"],
  ['{"previous_response_id":"a","conversation":"c"}', "previous_response_id"],
  ['{"background":true,"store":false}', "background"],
  ['{"background":true,"stream":true}', "background"],
  ['{"background":true,"conversation":{"id":"c"}}', "background"],
])("%s is refused", (body, param) => {
  expect(() => readStoredRequest(Buffer.from(body))).toThrow(expect.objectContaining({ metadata: { param } }) as Error);
});

const userItem = fc.record({ role: fc.constant("user"), content: fc.string({ unit: "grapheme" }) });
const input = fc.oneof(fc.string({ unit: "grapheme" }), fc.array(userItem, { maxLength: 3 }));
const turn = fc.tuple(input, fc.option(reply, { nil: undefined })).map(([said, events]) => {
  const output =
    events === undefined ? [] : (parse(openaiResponses.writeAnswer(events, answerOptions))["output"] as []);
  return { said, output };
});

const asItems = (said: unknown): unknown[] =>
  typeof said === "string" ? [{ type: "message", role: "user", content: said }] : (said as unknown[]);

test("a history stands before the input, in order, and nothing else changes", () => {
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 4 }), input, space, (turns, said, gap) => {
      const body = Buffer.from(
        `{"model":"m","previous_response_id":"resp_1",${gap}"input":${gap}${JSON.stringify(said)},"x":1e400}`,
      );
      const stored: StoredTurn[] = turns.map((each, index) => ({
        responseId: `r${index}`,
        input: Buffer.from(JSON.stringify(each.said)),
        output: Buffer.from(each.output.length === 0 ? "" : JSON.stringify(each.output)),
      }));
      const sent = withHistory(body, readStoredRequest(body), stored);
      const before = turns.flatMap((each) => [...asItems(each.said), ...outputAsInput({ output: each.output })]);
      expect(parse(sent)).toEqual({
        model: "m",
        previous_response_id: null,
        input: JSON.parse(JSON.stringify([...before, ...asItems(said)])) as unknown,
        x: Infinity,
      });
      expect(sent.toString()).toContain('"x":1e400}');
      const last = turns.at(-1);
      const led = turns
        .slice(0, -1)
        .flatMap((each) => [...asItems(each.said), ...outputAsInput({ output: each.output })]);
      expect(JSON.parse(inputOf(stored).toString())).toEqual(
        JSON.parse(JSON.stringify([...led, ...(last === undefined ? [] : asItems(last.said))])),
      );
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});

test("a history is input that the dialect understands", () => {
  fc.assert(
    fc.property(fc.array(turn, { minLength: 1, maxLength: 3 }), (turns) => {
      const body = Buffer.from('{"model":"m","input":"go on"}');
      const stored = turns.map((each) => ({
        responseId: "r",
        input: Buffer.from(JSON.stringify(each.said)),
        output: Buffer.from(JSON.stringify(each.output)),
      }));
      const sent = withHistory(body, readStoredRequest(body), stored);
      expect(openaiResponses.readRequest(parse(sent)).messages.length).toBeGreaterThan(0);
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});

test("in the foreground a request is the same but for one word", () => {
  expect(inForeground(Buffer.from('{"background" : true,"a":1}')).toString()).toBe('{"background" : false,"a":1}');
});

test("items are listed with ids, in the vendor's form", () => {
  const items = [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
    { type: "message", id: "msg_1", role: "user", content: [{ type: "input_text", text: "c" }] },
    { type: "message", id: "msg_1", role: "user", content: "again" },
    { type: "function_call_output", call_id: "c1", output: "d" },
  ];
  const listed = listItems("resp_1", Buffer.from(JSON.stringify(items)));
  expect(listed).toMatchObject([
    { type: "message", role: "user", status: "completed", content: [{ type: "input_text", text: "a" }] },
    { type: "message", role: "assistant", content: [{ type: "output_text", text: "b", annotations: [] }] },
    items[2],
    { type: "message", content: [{ type: "input_text", text: "again" }] },
    items[4],
  ]);
  const ids = listed.map((item) => item["id"]);
  expect(new Set(ids).size).toBe(items.length);
  expect(ids[2]).toBe("msg_1");
  expect(ids[4]).toMatch(/^fco_[0-9a-f]{36}$/);
  expect(listItems("resp_1", Buffer.from(JSON.stringify(items)))).toEqual(listed);
  expect(listItems("resp_2", Buffer.from(JSON.stringify(items)))[0]?.["id"]).not.toBe(ids[0]);
});

test("page after page, every item comes once, in either order", () => {
  const order = fc.constantFrom<ItemPage["order"]>("asc", "desc");
  fc.assert(
    fc.property(fc.array(userItem, { maxLength: 30 }), fc.integer({ min: 1, max: 9 }), order, (said, limit, way) => {
      const items = listItems("resp_1", Buffer.from(JSON.stringify(said)));
      const seen: unknown[] = [];
      let after: string | undefined;
      for (;;) {
        const page = pageOf(items, { order: way, limit, after });
        seen.push(...(page?.data ?? []));
        expect(page?.first_id).toBe(page?.data[0]?.["id"] ?? null);
        expect(page?.last_id).toBe(page?.data.at(-1)?.["id"] ?? null);
        if (!page?.has_more) break;
        after = page.last_id ?? undefined;
      }
      expect(seen).toEqual(way === "asc" ? items : items.toReversed());
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
  expect(pageOf([{ id: "a" }], { order: "asc", limit: 1, after: "b" })).toBeUndefined();
});

test("the events that hold the Response are found in whatever was streamed, and every byte stays", () => {
  fc.assert(
    fc.property(reply, fc.boolean(), (events, crlf) => {
      const writer = openaiResponses.createFrameWriter(answerOptions);
      const ending = crlf ? "\r\n" : "\n";
      const frames = events.flatMap((event) => writer.write(event));
      const bytes = Buffer.from(
        frames.map(({ type, data }) => `event: ${type}${ending}data: ${data}${ending}${ending}`).join(""),
      );
      const pieces = readPieces(bytes);
      expect(Buffer.concat(pieces.map((piece) => piece.bytes))).toEqual(bytes);
      const shown = pieces.flatMap((piece) => (piece.kind === "response" ? [piece] : []));
      expect(shown.map((piece) => piece.isLast)).toEqual([false, false, true]);
      const whole = parse(shown[2]?.response ?? "{}");
      expect(whole).toEqual(parse(openaiResponses.writeAnswer(events, answerOptions)));
      const items = pieces.flatMap((piece) => (piece.kind === "item" ? [parse(piece.item)] : []));
      // Calls are told of at the end, whatever their place.
      expect(new Set(items.map((item) => item["id"]))).toEqual(
        new Set((whole["output"] as JsonObject[]).map((item) => item["id"])),
      );
      for (const { type, data } of frames) {
        const frame = Buffer.from(`event: ${type}\ndata: ${data}\n\n`);
        if (!mayHoldState(frame)) expect(readPieces(frame)).toEqual([{ kind: "other", bytes: frame }]);
      }
    }),
    { numRuns: Math.ceil(numRuns / 4) },
  );
});

test("an event with another Response in it is the same event", () => {
  const bytes = Buffer.from(
    'event: response.completed\ndata: {"type":"response.completed",\ndata: "response":{"id":"é"},"sequence_number":4}\n\n',
  );
  const [piece] = readPieces(bytes);
  const other = piece?.kind === "response" ? piece.with(Buffer.from('{"id":"ü"}')) : bytes;
  const [again] = readPieces(other);
  expect(again).toMatchObject({ kind: "response", isLast: true, response: Buffer.from('{"id":"ü"}') });
  expect(other.toString()).toContain('"sequence_number":4}');
});

test("what a model says is no mark of state", () => {
  const delta = { type: "response.output_text.delta", delta: '{"type":"response.completed","response":{"id":"x"}}' };
  expect(mayHoldState(Buffer.from(`data: ${JSON.stringify(delta)}\n\n`))).toBe(false);
});

test("a Response is known by its id, and only one that could be asked for", () => {
  const bytes = Buffer.from('{"output": [1] ,"id":"resp_1","status":"completed"}');
  expect(readResponseFacts(bytes)).toMatchObject({ id: "resp_1", status: "completed" });
  const span = readResponseFacts(bytes)?.output;
  expect(bytes.subarray(span?.start, span?.end).toString()).toBe("[1]");
  expect(readResponseFacts(Buffer.from('{"id":"a/b"}'))).toBeUndefined();
  expect(readResponseFacts(Buffer.from("{}"))).toBeUndefined();
  expect([isResponseId("resp_a-1"), isResponseId(""), isResponseId("a b"), isResponseId("x".repeat(257))]).toEqual([
    true,
    false,
    false,
    false,
  ]);
});

test("a Response that ended otherwise says so", () => {
  const request = { model: "alias", input: "hi", background: true, previous_response_id: "resp_0" };
  const queued = writeQueued(request, { id: "resp_1", createTimeMs: 1_700_000_000_999, model: "alias" });
  expect(parse(queued)).toMatchObject({
    id: "resp_1",
    object: "response",
    created_at: 1_700_000_000,
    status: "queued",
    background: true,
    previous_response_id: "resp_0",
    output: [],
    error: null,
  });
  expect(parse(asInProgress(queued))).toMatchObject({ status: "in_progress", output: [] });
  const failure = { code: "server_error", message: "It broke." } as const;
  expect(parse(asFailed(queued, failure))).toMatchObject({ status: "failed", error: failure, output: [] });
  const items = [Buffer.from('{"id":"a"}'), Buffer.from('{"id":"b"}')];
  expect(parse(asCancelled(queued, items))).toMatchObject({ status: "cancelled", output: [{ id: "a" }, { id: "b" }] });
});
