import { CountTokensResponseSchema, type GenerateRequest } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { ResponseState } from "@weir/gen/weir/conversation/v1/response_pb";
import { create } from "@bufbuild/protobuf";
import { readWireRequest, wireRequest } from "@weir/dialect/wire-request";
import { openaiResponses } from "@weir/dialect/openai-responses/codec";
import { expect, test } from "vitest";
import { edgeSettings } from "../../config.ts";
import type { ChatOptions } from "../../files/owned-files.ts";
import { emptyRequest } from "../generate.ts";
import type { Archive } from "./archive.ts";
import { createByteRoom } from "./byte-room.ts";
import { createContinuedCount } from "./continued-count.ts";

const item = { type: "code_interpreter_call", id: "ci_1", container_id: "cntr_1" };

/** Counts, and gives what the chat was asked. */
async function count(body: object): Promise<[whole: unknown, sent: GenerateRequest | undefined]> {
  const asked: [unknown, GenerateRequest | undefined][] = [];
  const turn = {
    responseId: "resp_1",
    input: Buffer.from('"hi"'),
    output: Buffer.from(JSON.stringify([item])),
  };
  const counting = createContinuedCount({
    chat: {
      async countTokens({ request }, { sent }) {
        asked.push([JSON.parse(Buffer.from(request.wire?.body ?? []).toString()), sent]);
        return create(CountTokensResponseSchema);
      },
    },
    archive: { history: async () => ({ turns: [turn], state: ResponseState.COMPLETED }) } as unknown as Archive,
    room: createByteRoom(1_000_000),
    settings: () => edgeSettings(),
  });
  const reading = readWireRequest(openaiResponses, Buffer.from(JSON.stringify(body)));
  const request = { ...emptyRequest, model: "m", wire: wireRequest(openaiResponses, reading, false, {}) };
  await counting.countTokens({ request }, { caller: undefined } satisfies ChatOptions);
  const [[whole, sent]] = asked as [[unknown, GenerateRequest | undefined]];
  expect(sent === undefined || sent === request).toBe(true);
  return [whole, sent];
}

test("what is counted has the turns before in it, of which nothing is asked whose it is", async () => {
  const [whole, sent] = await count({ model: "m", input: "more", previous_response_id: "resp_1" });
  expect(JSON.stringify(whole)).toContain("cntr_1");
  expect(whole).toMatchObject({ previous_response_id: null });
  expect(Buffer.from(sent?.wire?.body ?? []).toString()).not.toContain("cntr_1");
  expect(sent).toBeDefined();
});

test("a request that continues nothing is counted as it came", async () => {
  expect(await count({ model: "m", input: "hi" })).toEqual([{ model: "m", input: "hi" }, undefined]);
});
