import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { expect, test } from "vitest";
import { createFrameReader } from "./stream-reader.ts";

type Event = Record<string, unknown> & { type: string };

const usage = { input_tokens: 10, cache_read_input_tokens: 4, cache_creation_input_tokens: 3, output_tokens: 1 };
const messageStart: Event = {
  type: "message_start",
  message: { id: "msg_1", type: "message", role: "assistant", model: "claude-opus-5", content: [], usage },
};
const messageDelta: Event = {
  type: "message_delta",
  delta: { stop_reason: "end_turn", stop_sequence: null },
  usage: { output_tokens: 9 },
};
const messageStop: Event = { type: "message_stop" };
const textStart: Event = { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } };
const stop = (index: number): Event => ({ type: "content_block_stop", index });
const delta = (index: number, members: object): Event => ({ type: "content_block_delta", index, delta: members });

function read(events: readonly (Event | string | [string, string])[]) {
  const reader = createFrameReader();
  const out: GenerateEvent[] = [];
  for (const event of events) {
    if (typeof event === "string") reader.read("", event, out);
    else if (Array.isArray(event)) reader.read(event[0], event[1], out);
    else reader.read(event.type, JSON.stringify(event), out);
  }
  reader.finish(out);
  return { out, reader, kinds: out.map(({ kind }) => kind.case), deltas: out.flatMap(deltaOf) };
}

function deltaOf({ kind }: GenerateEvent): unknown[] {
  return kind.case === "delta" ? [[kind.value.part, kind.value.content.value]] : [];
}

test("reads the stream of the vendor's documentation", () => {
  // https://platform.claude.com/docs/en/build-with-claude/streaming
  const { out, reader } = read([
    messageStart,
    ["ping", '{"type": "ping"}'],
    textStart,
    delta(0, { type: "text_delta", text: "Hello" }),
    delta(0, { type: "text_delta", text: "!" }),
    stop(0),
    messageDelta,
    messageStop,
  ]);
  expect(reader).toMatchObject({ complete: true, fault: undefined });
  expect(out.map(({ kind }) => kind)).toMatchObject([
    { case: "start", value: { id: "msg_1", model: "claude-opus-5", serviceTier: "" } },
    // Its one token of output is of an answer that has just begun, and no count of one that is cut off.
    { case: "usage", value: { inputTokens: 17 } },
    { case: "delta", value: { choice: 0, part: 0, content: { case: "text", value: "Hello" } } },
    { case: "delta", value: { choice: 0, part: 0, content: { case: "text", value: "!" } } },
    { case: "usage", value: { inputTokens: 17, cachedInputTokens: 4, cacheWriteTokens: 3, outputTokens: 9 } },
    {
      case: "end",
      value: {
        choices: [{ choice: 0, reason: StopReason.END, rawReason: "end_turn" }],
        usage: { inputTokens: 17, outputTokens: 9 },
      },
    },
  ]);
});

test("a call without a piece of arguments has none, and one with empty pieces as well", () => {
  const call = (index: number): Event => ({
    type: "content_block_start",
    index,
    content_block: { type: "tool_use", id: `toolu_${index}`, name: "f", input: {} },
  });
  const empty = delta(1, { type: "input_json_delta", partial_json: "" });
  const { deltas } = read([messageStart, call(0), stop(0), call(1), empty, stop(1), messageStop]);
  expect(deltas).toMatchObject([
    [0, { id: "toolu_0", name: "f", arguments: "" }],
    [0, { id: "", arguments: "{}" }],
    [1, { id: "toolu_1", name: "f", arguments: "" }],
    [1, { arguments: "{}" }],
  ]);
});

test("a call that comes whole keeps its numbers", () => {
  const block = `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"n":12345678901234567890}}}`;
  const { deltas } = read([messageStart, block, stop(0), messageStop]);
  expect(deltas).toMatchObject([
    [0, { id: "a" }],
    [0, { arguments: '{"n":12345678901234567890}' }],
  ]);
});

test("thoughts, their signature, and sealed ones", () => {
  const { deltas } = read([
    messageStart,
    { type: "content_block_start", index: 0, content_block: { type: "thinking", thinking: "", signature: "" } },
    delta(0, { type: "thinking_delta", thinking: "Hm." }),
    delta(0, { type: "signature_delta", signature: "c2ln" }),
    stop(0),
    { type: "content_block_start", index: 1, content_block: { type: "redacted_thinking", data: "sealed" } },
    stop(1),
    messageStop,
  ]);
  expect(deltas).toMatchObject([
    [0, { text: "Hm." }],
    [0, { text: "", signature: Buffer.from("c2ln") }],
    [1, { text: "", sealed: Buffer.from("sealed") }],
  ]);
});

test("citations come when their text is whole, and span it in code points", () => {
  const cited = {
    type: "web_search_result_location",
    url: "https://example.com",
    title: "T",
    cited_text: "Q",
    encrypted_index: "e",
  };
  const { out } = read([
    messageStart,
    textStart,
    delta(0, { type: "citations_delta", citation: cited }),
    delta(0, { type: "text_delta", text: "a😀" }),
    stop(0),
    messageStop,
  ]);
  expect(out.at(-2)?.kind).toMatchObject({
    case: "citation",
    value: {
      part: 0,
      citation: { start: 0, end: 2, title: "T", url: "https://example.com", quote: "Q", details: cited },
    },
  });
});

test("blocks, deltas, events and members that are not known say nothing; the first such block is warned of", () => {
  const search = { type: "server_tool_use", id: "srvtoolu_1", name: "web_search", input: {} };
  const { kinds, deltas, reader } = read([
    messageStart,
    { type: "content_block_start", index: 0, content_block: search, more: 1 },
    delta(0, { type: "input_json_delta", partial_json: '{"q":1}' }),
    stop(0),
    { type: "content_block_start", index: 1, content_block: { type: "web_search_tool_result", content: [] } },
    stop(1),
    { type: "weather", temperature: 20 },
    { ...textStart, index: 2 },
    delta(2, { type: "hologram_delta", hologram: "x" }),
    delta(2, { type: "thinking_delta", thinking: "x" }),
    delta(2, { type: "text_delta", text: "a" }),
    stop(2),
    messageDelta,
    messageStop,
  ]);
  expect(reader.fault).toBeUndefined();
  expect(kinds).toEqual(["start", "usage", "warning", "delta", "usage", "end"]);
  expect(deltas).toEqual([[0, "a"]]);
});

test.each<[string, (Event | string | [string, string])[]]>([
  ["what is not JSON", [messageStart, "{"]],
  ["what is no object", [messageStart, "[1]"]],
  ["content before the start", [textStart]],
  ["a delta before the start", [delta(0, { type: "text_delta", text: "a" })]],
  ["an end before the start", [messageStop]],
  ["counts before the start", [messageDelta]],
  ["a second start", [messageStart, messageStart]],
  ["a start without message", [{ type: "message_start" }]],
  ["a delta for a block that never began", [messageStart, delta(0, { type: "text_delta", text: "a" })]],
  [
    "a delta for a block that has ended",
    [messageStart, textStart, stop(0), delta(0, { type: "text_delta", text: "a" })],
  ],
  ["a delta without index", [messageStart, textStart, { type: "content_block_delta", delta: { type: "text_delta" } }]],
  ["a delta that is none", [messageStart, textStart, { type: "content_block_delta", index: 0 }]],
  ["a block that begins twice", [messageStart, textStart, textStart]],
  ["a block with a negative index", [messageStart, { ...textStart, index: -1 }]],
  ["a block without content", [messageStart, { type: "content_block_start", index: 0 }]],
  ["the end of a block that never began", [messageStart, stop(0)]],
  ["the end of a block twice", [messageStart, textStart, stop(0), stop(0)]],
])("%s is one fault, after which nothing comes", (_, events) => {
  const { reader, out } = read(events);
  expect(reader).toMatchObject({ complete: false, fault: { kind: "malformed" } });
  const length = out.length;
  for (const event of [messageStart, textStart, messageDelta, messageStop])
    reader.read(event.type, JSON.stringify(event), out);
  expect(out).toHaveLength(length);
  expect(reader.complete).toBe(false);
});

test.each<[string, Event | [string, string], object]>([
  [
    "the vendor's",
    { type: "error", error: { type: "overloaded_error", message: "Overloaded" } },
    { code: "", type: "overloaded_error", status: 529 },
  ],
  ["one without words", ["error", "{}"], { code: "", type: "" }],
  ["one that is no JSON", ["error", "oh no"], { code: "", type: "" }],
  ["one of a server that imitates the vendor", ["", '{"error":{"code":500,"message":"x"}}'], { code: "500", type: "" }],
])("an error in the stream is one fault: %s", (_, event, error) => {
  const { reader, kinds } = read([messageStart, event, messageStop]);
  expect(reader).toMatchObject({ complete: false, fault: { kind: "error", error } });
  expect(kinds).toEqual(["start", "usage"]);
});

test("without its last event a stream is not complete, and that is no fault of its frames", () => {
  const { reader, kinds } = read([messageStart, textStart, stop(0), messageDelta]);
  expect(reader).toMatchObject({ complete: false, fault: undefined });
  expect(kinds).not.toContain("end");
});

test("what follows the end is ignored, and so are empty frames", () => {
  const { kinds, reader } = read(["", " ", messageStart, messageStop, "[DONE]", messageStart]);
  expect(kinds).toEqual(["start", "usage", "end"]);
  expect(reader).toMatchObject({ complete: true, fault: undefined });
});

test("the end of a stream ends what is still open", () => {
  const call = { type: "tool_use", id: "a", name: "f", input: {} };
  const { deltas } = read([
    messageStart,
    { type: "content_block_start", index: 0, content_block: call },
    messageDelta,
    messageStop,
  ]);
  expect(deltas.at(-1)).toMatchObject([0, { arguments: "{}" }]);
});

test("why the vendor refused, and where code ran, come with the end", () => {
  const stopDetails = { type: "refusal", category: "bio", explanation: null };
  const { out } = read([
    messageStart,
    { type: "message_delta", delta: { stop_reason: "refusal", stop_details: stopDetails, container: null } },
    messageStop,
  ]);
  expect(out.at(-1)?.kind).toMatchObject({
    value: { choices: [{ reason: StopReason.CONTENT_FILTER }], details: { stop_details: stopDetails } },
  });
});
