import type { GenerateEvent } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseExact } from "../json.ts";
import { openaiChat } from "./codec.ts";
import { oddJson } from "./testing/odd-json.ts";

const numRuns = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 1000);
const timeoutMs = 20_000 + numRuns * 20;

const words = (text: string): string[] => text.trim().split(/\s+/);

const requestMembers = words(`
  role content name tool_calls tool_call_id function_call reasoning_details annotations type text
  image_url url input_audio data format file file_data id function tools tool_choice
  response_format json_schema schema stop n logit_bias metadata seed arguments custom index
  cache_control ttl audio voice prediction x __proto__
`);
const requestWords = ["user", "assistant", "tool", "function", "system", "text", "image_url", "json_schema", "AAAA"];

test(
  "whatever a client sends is read, or refused with the place of the fault and without its words",
  () => {
    const odd = oddJson(requestMembers, requestWords);
    const roles = fc.constantFrom("user", "assistant", "tool", "function", "system", "developer");
    const messages = fc.array(fc.tuple(odd, roles), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(odd, messages, (members, list) => {
        const body = { ...members, model: "m", messages: list.map(([message, role]) => ({ ...message, role })) };
        try {
          openaiChat.readRequest(parseExact(JSON.stringify(body)) ?? {});
        } catch (error) {
          if (!(error instanceof WeirError)) throw error;
          expect([ErrorReason.INVALID_REQUEST, ErrorReason.TARGET_UNSUPPORTED]).toContain(error.reason);
          expect(error.metadata["param"]).toMatch(/^[\w.[\]]+$/);
          expect(error.message).not.toContain("AAAA");
        }
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

const answerMembers = words(`
  choices delta message index finish_reason content refusal reasoning reasoning_details tool_calls
  function name arguments id type audio data images image_url url text annotations url_citation
  start_index logprobs token logprob bytes top_logprobs usage prompt_tokens created model error
  code signature extra_content google thinking
`);
const answerWords = ["stop", "reasoning.text", "url_citation", "text", "thinking", "f", "AAAA", "data:;base64,AAAA"];

test(
  "whatever a provider streams is read, or is one fault after which nothing comes",
  () => {
    const odd = oddJson(answerMembers, answerWords);
    const chunk = fc.tuple(odd, odd, fc.constantFrom(0, 1)).map(([members, delta, index]) => ({
      id: "r",
      ...members,
      choices: [{ index, delta, finish_reason: members["finish_reason"] ?? null }],
    }));
    const frame = fc.oneof(
      chunk.map((json) => JSON.stringify(json)),
      odd.map((json) => JSON.stringify(json)),
      fc.constantFrom("[DONE]", "", "{", "[]"),
    );
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 6 }), (frames) => {
        const reader = openaiChat.createFrameReader();
        const events: GenerateEvent[] = [];
        let ended = false;
        for (const data of frames) {
          const before = events.length;
          reader.read("", data, events);
          if (ended) expect(events).toHaveLength(before);
          ended = reader.complete || reader.fault !== undefined;
        }
        reader.finish(events);
        const kinds = events.map(({ kind }) => kind.case);
        expect(kinds.slice(1)).not.toContain("start");
        expect(kinds.slice(0, -1)).not.toContain("end");
        expect(kinds.at(-1) === "end").toBe(reader.complete);
        expect(reader.complete && reader.fault !== undefined).toBe(false);
      }),
      { numRuns },
    );
  },
  timeoutMs,
);

test(
  "whatever a provider answers is read, or is no answer",
  () => {
    const odd = oddJson(answerMembers, answerWords);
    fc.assert(
      fc.property(odd, fc.array(odd, { maxLength: 3 }), (members, messages) => {
        const body = { ...members, choices: messages.map((message) => ({ message })) };
        const reading = openaiChat.readAnswer(parseExact(JSON.stringify(body)) ?? {});
        if (reading === undefined) return;
        expect(reading.events[0]?.kind.case).toBe("start");
        expect(reading.events.at(-1)?.kind.case).toBe("end");
        const text = openaiChat.writeAnswer(reading.events, {
          id: "r",
          createTimeMs: 0,
          model: "m",
          includeUsage: true,
          request: {},
        });
        expect(openaiChat.readAnswer(parseExact(text) ?? {})).toBeDefined();
      }),
      { numRuns },
    );
  },
  timeoutMs,
);
