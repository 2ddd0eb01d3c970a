import type { WireTail } from "@weir/gen/weir/chat/v1/wire_pb";
import { UsageSource } from "@weir/gen/weir/common/v1/usage_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { Outbox } from "./outbox.ts";
import { canonicalRequest, createTestPool, principalMetadata, startProvider } from "./testing/pool-under-test.ts";

const tail: WireTail = { $typeName: "weir.chat.v1.WireTail", usageSource: UsageSource.REPORTED };

test("an answer that failed stays failed, though its provider goes on to the end", () => {
  const outbox = new Outbox(() => undefined);
  outbox.push(Buffer.from("half"));
  outbox.release();
  outbox.drop();
  outbox.fail(new WeirError(ErrorReason.BUDGET_EXHAUSTED));
  outbox.end(tail);
  expect(() => outbox.poll()).toThrow(WeirError);
});

test("a caller of the canonical form gets nothing after the end", async () => {
  await using provider = await startProvider((response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(
      'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}\n\n' +
        'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    );
  });
  await using pool = createTestPool(provider.url);
  const got: (string | undefined)[] = [];
  for await (const { payload } of pool.client.runAttempt(canonicalRequest(), {
    metadata: principalMetadata,
  })) {
    got.push(payload.case === "event" ? payload.value.kind.case : payload.case);
  }
  expect(got).toEqual(["start", "delta", "end"]);
});
