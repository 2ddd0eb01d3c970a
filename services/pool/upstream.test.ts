import { openaiChat } from "@weir/dialect/openai-chat/codec";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { expect, test } from "vitest";
import {
  attemptRequest,
  createTestPool,
  principalMetadata,
  readAll,
  startProvider,
} from "./testing/pool-under-test.ts";

const video = { type: "video_url", video_url: { url: "https://example.org/a.mp4" } };
const asking = (content: unknown) => ({ model: "alias", messages: [{ role: "user", content }] });

test("a client's content that only its own dialect knows goes to targets of that dialect, and to no other", async () => {
  await using provider = await startProvider((response) => response.writeHead(200).end("{}"));
  await using pool = createTestPool(provider.url, { kind: ProviderKind.ANTHROPIC });
  const ask = async (body: object) =>
    readAll(pool.client.runAttempt(attemptRequest(body, {}, openaiChat), { metadata: principalMetadata }));
  expect((await ask(asking([video]))).error).toMatchObject({
    reason: ErrorReason.TARGET_UNSUPPORTED,
    metadata: { param: "messages[0].content[0].type", provider: "p" },
  });
  expect((await ask(asking([{ type: "text" }]))).error).toMatchObject({
    reason: ErrorReason.INVALID_REQUEST,
    metadata: { param: "messages[0].content[0].text" },
  });
  expect(provider.received).toHaveLength(0);

  await using native = createTestPool(provider.url, { kind: ProviderKind.OPENAI });
  await readAll(native.client.runAttempt(attemptRequest(asking([video])), { metadata: principalMetadata }));
  expect(provider.received).toHaveLength(1);
});

test("what a target cannot be told is named as the client's dialect names it", async () => {
  await using provider = await startProvider((response) => response.writeHead(200).end("{}"));
  await using pool = createTestPool(provider.url, { kind: ProviderKind.ANTHROPIC });
  const request = attemptRequest({ ...asking("hi"), n: 2 }, {}, openaiChat);
  const { error } = await readAll(pool.client.runAttempt(request, { metadata: principalMetadata }));
  expect(error).toMatchObject({ reason: ErrorReason.TARGET_UNSUPPORTED, metadata: { param: "n", provider: "p" } });
});
