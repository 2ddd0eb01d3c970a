import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import type { Usage } from "@weir/gen/weir/common/v1/usage_pb";
import { expect, test } from "vitest";
import type { AnswerOptions } from "../codec.ts";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  refusalEvent,
  startEvent,
  textEvent,
  toolCallEvent,
  usageEvent,
} from "../events.ts";
import type { JsonObject } from "../json.ts";
import { createFrameWriter } from "./stream-writer.ts";

const options: AnswerOptions = { id: "msg_weir", createTimeMs: 0, model: "m", includeUsage: true, request: {} };
const end = endEvent([choiceEnd(0, StopReason.END, "stop")], undefined);

function write(...events: GenerateEvent[]): JsonObject[] {
  const writer = createFrameWriter(options);
  return events
    .flatMap((event) => writer.write(event))
    .map(({ type, data }) => {
      const json = JSON.parse(data) as JsonObject;
      expect(json["type"]).toBe(type);
      return json;
    });
}

/** Event types with their blocks' indexes. */
function order(events: readonly JsonObject[]): string[] {
  return events.map(({ type, index }) => (typeof index === "number" ? `${String(type)} ${index}` : String(type)));
}

function usage(counts: Omit<Usage, "$typeName" | "serverToolUses">): Usage {
  return { $typeName: "weir.common.v1.Usage", serverToolUses: {}, ...counts };
}

test("writes the vendor's order of events, each of the shape of its types", () => {
  expect(write(startEvent({ id: "a", model: "gpt" }), textEvent(0, 0, "Hi"), end)).toEqual([
    {
      type: "message_start",
      message: {
        id: "a",
        type: "message",
        role: "assistant",
        model: "gpt",
        content: [],
        stop_reason: null,
        stop_sequence: null,
        stop_details: null,
        container: null,
        diagnostics: null,
        usage: {
          cache_creation: null,
          cache_creation_input_tokens: null,
          cache_read_input_tokens: null,
          inference_geo: null,
          input_tokens: 0,
          output_tokens: 0,
          output_tokens_details: null,
          server_tool_use: null,
          service_tier: null,
          speed: null,
        },
      },
    },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "", citations: null } },
    { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hi" } },
    { type: "content_block_stop", index: 0 },
    {
      type: "message_delta",
      delta: { stop_reason: "end_turn", stop_sequence: null, stop_details: null, container: null },
      usage: {
        cache_creation_input_tokens: null,
        cache_read_input_tokens: null,
        input_tokens: 0,
        output_tokens: 0,
        output_tokens_details: null,
        server_tool_use: null,
      },
    },
    { type: "message_stop" },
  ]);
});

test("a reply of another vendor without id, model or start gets those of the gateway", () => {
  expect(write(startEvent({ id: "", model: "" }))[0]).toMatchObject({ message: { id: "msg_weir", model: "m" } });
  expect(order(write(textEvent(0, 0, "a")))).toEqual([
    "message_start",
    "content_block_start 0",
    "content_block_delta 0",
  ]);
  expect(order(write(end))).toEqual(["message_start", "message_delta", "message_stop"]);
  const twice = write(startEvent({ id: "a", model: "m" }), startEvent({ id: "b", model: "m" }));
  expect(order(twice)).toEqual(["message_start"]);
});

test("empty pieces open nothing", () => {
  const events = write(textEvent(0, 0, ""), reasoningEvent(0, 1, {}), end);
  expect(order(events)).toEqual(["message_start", "message_delta", "message_stop"]);
});

test("a refusal is text, and parts of other choices, pictures and sound are left out", () => {
  const image = {
    $typeName: "weir.chat.v1.Media",
    source: { case: "url", value: "u" },
    mediaType: "",
    filename: "",
    detail: "",
  } as const;
  const events = write(refusalEvent(0, 0, "No."), textEvent(1, 0, "other"), imageEvent(0, 1, image), end);
  expect(events.filter(({ type }) => type === "content_block_delta")).toEqual([
    { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "No." } },
  ]);
});

test("reports of usage replace one another field by field, and the last stands at the end", () => {
  const events = write(
    startEvent({ id: "a", model: "m" }),
    usageEvent({ ...usage({ inputTokens: 100, cachedInputTokens: 60 }), serverToolUses: { web_search: 2 } }),
    usageEvent(usage({ outputTokens: 5 })),
    endEvent([choiceEnd(0, StopReason.LENGTH, "length")], usage({ outputTokens: 9, reasoningTokens: 3 })),
  );
  expect(events.at(-2)).toMatchObject({
    delta: { stop_reason: "max_tokens" },
    usage: {
      input_tokens: 40,
      cache_read_input_tokens: 60,
      cache_creation_input_tokens: null,
      output_tokens: 9,
      output_tokens_details: { thinking_tokens: 3 },
      server_tool_use: { web_search_requests: 2, web_fetch_requests: 0 },
    },
  });
});

test("a reply that ends with calls says so, even when its vendor did not", () => {
  const call = toolCallEvent(0, 0, { id: "a", name: "f", arguments: "{}" });
  expect(write(call, end).at(-2)).toMatchObject({ delta: { stop_reason: "tool_use" } });
});

test("pieces of two calls that come in turns find their own", () => {
  const events = write(
    toolCallEvent(0, 0, { id: "a", name: "f", arguments: '{"x":' }),
    toolCallEvent(0, 1, { id: "b", name: "g" }),
    toolCallEvent(0, 0, { arguments: "1}" }),
    toolCallEvent(0, 1, { arguments: '{"y":2}' }),
    textEvent(0, 2, "done"),
    end,
  );
  const args = new Map<unknown, string>();
  for (const { index, delta } of events) {
    const { partial_json: json } = (delta ?? {}) as { partial_json?: string };
    if (json !== undefined) args.set(index, (args.get(index) ?? "") + json);
  }
  expect([...args]).toEqual([
    [0, '{"x":1}'],
    [1, '{"y":2}'],
  ]);
  const stops = order(events).filter((event) => event.startsWith("content_block_stop"));
  expect(stops.toSorted()).toEqual(["content_block_stop 0", "content_block_stop 1", "content_block_stop 2"]);
});

test("white space after a call that is whole is no call of its own", () => {
  const events = write(
    toolCallEvent(0, 0, { id: "a", name: "f", arguments: "{}" }),
    textEvent(0, 1, "then"),
    toolCallEvent(0, 0, { arguments: "\n" }),
    end,
  );
  expect(events.filter(({ type }) => type === "content_block_start")).toHaveLength(2);
  expect(order(events).slice(-2)).toEqual(["message_delta", "message_stop"]);
});

test("text that goes on after a call is a block of its own", () => {
  const events = write(
    textEvent(0, 0, "a"),
    toolCallEvent(0, 1, { id: "a", name: "f", arguments: "{}" }),
    textEvent(0, 0, "b"),
    end,
  );
  expect(order(events).filter((event) => event.startsWith("content_block_start"))).toEqual([
    "content_block_start 0",
    "content_block_start 1",
    "content_block_start 2",
  ]);
});

test("a citation stands with its text; one that comes too late is left out", () => {
  const citation = {
    $typeName: "weir.chat.v1.Citation",
    start: 0,
    end: 1,
    title: "",
    url: "https://example.com",
    quote: "q",
  } as const;
  const cited = (events: readonly JsonObject[]) =>
    events.filter(({ delta }) => (delta as JsonObject | undefined)?.["type"] === "citations_delta");
  expect(cited(write(textEvent(0, 0, "a"), citationEvent(0, 0, citation), end))).toEqual([
    {
      type: "content_block_delta",
      index: 0,
      delta: {
        type: "citations_delta",
        citation: {
          type: "web_search_result_location",
          cited_text: "q",
          encrypted_index: "",
          title: null,
          url: "https://example.com",
        },
      },
    },
  ]);
  expect(cited(write(textEvent(0, 0, "a"), textEvent(0, 1, "b"), citationEvent(0, 0, citation), end))).toEqual([]);
});

test("a thought without a proof ends with an empty signature, without which some clients do not return it", () => {
  const events = write(reasoningEvent(0, 0, { text: "Hm." }), textEvent(0, 1, "Yes."), end);
  expect(events[3]).toMatchObject({ index: 0, delta: { type: "signature_delta", signature: "" } });
  expect(order(events)[4]).toBe("content_block_stop 0");
});

test("proofs of other vendors travel in blocks that clients return unread", () => {
  const events = write(
    reasoningEvent(0, 0, { id: "rs_1" }),
    reasoningEvent(0, 0, { text: "Hm." }),
    reasoningEvent(0, 0, { sealed: Buffer.from([255]) }),
    toolCallEvent(0, 1, { id: "a", name: "f", arguments: "{}", signature: Buffer.from([254]) }),
    end,
  );
  expect(order(events)).toEqual([
    "message_start",
    "content_block_start 0",
    "content_block_delta 0",
    "content_block_delta 0",
    "content_block_stop 0",
    "content_block_start 1",
    "content_block_stop 1",
    "content_block_start 2",
    "content_block_delta 2",
    "content_block_stop 2",
    "message_delta",
    "message_stop",
  ]);
  expect(events[3]).toMatchObject({ delta: { type: "signature_delta", signature: "weir:._w.cnNfMQ" } });
  expect(events[5]).toMatchObject({ content_block: { type: "redacted_thinking", data: "weir-call:_g.YQ" } });
});
