import { create } from "@bufbuild/protobuf";
import { type RecordRefusalsRequest, RecordRefusalsResponseSchema } from "@weir/gen/weir/account/v1/audit_service_pb";
import { afterEach, expect, test } from "vitest";
import { eventually, hello, type HarnessOptions, startEdge, stopEdges } from "../testing/harness.ts";

afterEach(stopEdges);

async function startAudited(options: HarnessOptions = {}) {
  const told: { action: string; reason: string; detail: string; key: string; address: string; count: bigint }[] = [];
  const harness = await startEdge({
    ...options,
    deps: {
      audit: {
        recordRefusals(request) {
          for (const refusal of (request as RecordRefusalsRequest).refusals) {
            const { action, reason, detail, address, count, actor } = refusal;
            told.push({ action, reason, detail, key: actor?.key ?? "", address, count });
          }
          return Promise.resolve(create(RecordRefusalsResponseSchema, {}));
        },
      },
    },
  });
  return { ...harness, told };
}

test("what the door refuses is in the audit log: unknown keys, scopes, models and rates, and nothing else", async () => {
  const { post, url, told, key, keyId } = await startAudited({
    scope: { models: ["small"], endpoints: ["chat"], requestsPerMinute: 5 },
  });
  const keyed = { authorization: `Bearer ${key}` };
  expect((await fetch(`${url}/v1/chat/completions`, { method: "POST", body: "{}" })).status).toBe(401);
  expect((await fetch(`${url}/v1/models`, { headers: { authorization: "Bearer weir_x" } })).status).toBe(401);
  expect((await post(hello)).status).toBe(200);
  expect((await post("{")).status).toBe(400);
  expect((await fetch(`${url}/v1/nothing`, { headers: keyed })).status).toBe(404);
  expect((await fetch(`${url}/v1/costs`, { headers: keyed })).status).toBe(403);
  expect((await post({ ...hello, model: "canary-model" })).status).toBe(403);
  for (let index = 0; index < 2; index++) await post(hello);
  expect((await post(hello)).status).toBe(429);
  await eventually(() => told.length >= 5);
  expect(told).toEqual([
    { action: "chat", reason: "API_KEY_INVALID", detail: "", key: "", address: "127.0.0.1", count: 1n },
    { action: "models", reason: "API_KEY_INVALID", detail: "", key: "", address: "127.0.0.1", count: 1n },
    { action: "costs.list", reason: "FORBIDDEN", detail: "costs", key: keyId, address: "127.0.0.1", count: 1n },
    { action: "chat", reason: "MODEL_FORBIDDEN", detail: "", key: keyId, address: "127.0.0.1", count: 1n },
    { action: "chat", reason: "RATE_LIMITED", detail: "requests", key: keyId, address: "127.0.0.1", count: 1n },
  ]);
});

test("a key whose scope names models is refused what runs models of files, and the audit log has it", async () => {
  const { url, told, key, keyId } = await startAudited({ scope: { models: ["small"] } });
  for (const path of ["/v1/batches", "/v1/fine_tuning/jobs"]) {
    const response = await fetch(`${url}${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: "{}",
    });
    expect(response.status).toBe(403);
  }
  await eventually(() => told.length >= 2);
  expect(told).toEqual(
    ["batches", "fine_tuning"].map((endpoint) => ({
      action: endpoint,
      reason: "FORBIDDEN",
      detail: endpoint,
      key: keyId,
      address: "127.0.0.1",
      count: 1n,
    })),
  );
});
