import { create } from "@bufbuild/protobuf";
import { choiceEnd, endEvent, startEvent, textEvent } from "@weir/dialect/events";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { type GenerateRequest, GenerateResponseSchema } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { afterEach, describe, expect, test } from "vitest";
import { rpcService } from "../rpc/public-methods.ts";
import { type FakeChat, type HarnessOptions, startEdge, stopEdges } from "../testing/harness.ts";

afterEach(stopEdges);

describe("ChatService.Generate", () => {
  const reply: FakeChat = async function* () {
    const choices = [choiceEnd(0, StopReason.END, "")];
    for (const value of [
      startEvent({ id: "r", model: "small" }),
      textEvent(0, 0, "Hi"),
      endEvent(choices, { $typeName: "weir.common.v1.Usage", inputTokens: 3, outputTokens: 2, serverToolUses: {} }),
    ]) {
      yield create(GenerateResponseSchema, { payload: { case: "event", value } });
    }
  };
  const body = JSON.stringify({ messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hi" } }] }], user: "u" });

  async function startChat(options: HarnessOptions = {}) {
    const edge = await startEdge({ chat: reply, ...options });
    const generate = (path: string, text = body) =>
      fetch(`${edge.url}${path}`, {
        method: "POST",
        body: text,
        headers: { authorization: `Bearer ${edge.key}`, "content-type": "application/json" },
      });
    return { edge, generate };
  }

  test("takes the model from the path and answers with events", async () => {
    const { edge, generate } = await startChat();
    const response = await generate("/v1/models/org/small:generate");
    expect(response.status).toBe(200);
    const lines = (await response.text()).trimEnd().split("\n");
    expect(lines.map((line) => Object.keys((JSON.parse(line) as { event: object }).event)[0])).toEqual([
      "start",
      "delta",
      "end",
    ]);
    const request = edge.calls[0]?.request as GenerateRequest;
    expect([request.model, request.messages.length, request.wire]).toEqual(["org/small", 1, undefined]);
  });

  test("keeps to the models of the key", async () => {
    const { edge, generate } = await startChat({ scope: { models: ["small"] } });
    expect((await generate("/v1/models/small:generate")).status).toBe(200);
    const response = await generate("/v1/models/large:generate");
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ code: 7, details: [{ reason: "MODEL_FORBIDDEN" }, {}] });
    expect(edge.calls.length).toBe(1);
  });

  test("takes tokens from the key's rate, as much as the reply used", async () => {
    const { generate } = await startChat({ scope: { tokensPerMinute: 2_000 } });
    for (let index = 0; index < 3; index++) {
      const response = await generate("/v1/models/small:generate");
      expect(response.status).toBe(200);
      await response.text();
    }
    const large = body.replace('"user"', '"maxOutputTokens":5000,"user"');
    expect((await generate("/v1/models/small:generate", large)).status).toBe(429);
  });

  test("does not take the form of the mesh, nor what breaks the schema's rules", async () => {
    const { edge, generate } = await startChat();
    const wire = await generate(
      "/v1/models/small:generate",
      '{"wire":{"body":"e30=","dialect":"DIALECT_OPENAI_CHAT"}}',
    );
    expect(wire.status).toBe(400);
    expect(await wire.json()).toMatchObject({ details: [{ metadata: { param: "wire" } }, {}, {}] });
    const logprobs = await generate("/v1/models/small:generate", '{"topLogprobs":21}');
    expect(await logprobs.json()).toMatchObject({ details: [{ metadata: { param: "top_logprobs" } }, {}, {}] });
    expect(edge.calls).toEqual([]);
  });
});

test("requests are checked against the rules of their schema", async () => {
  const asked: unknown[] = [];
  const budgets = hostService(BudgetService, {
    createBudget(request) {
      asked.push(request);
      return {};
    },
  });
  const client = createClient(BudgetService, createLocalDoor([budgets]));
  const edge = await startEdge({ deps: { rpc: [rpcService(BudgetService, client)] }, role: Role.OWNER });
  const send = (body: object) =>
    fetch(`${edge.url}/v1/budgets`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { authorization: `Bearer ${edge.key}`, "content-type": "application/json" },
    });
  expect((await send({ displayName: "x".repeat(4_200_000) })).status).toBe(413);
  const response = await send({ budgetId: "Bad Id", limitNanoUsd: "1", window: { kind: "WINDOW_KIND_DAY" } });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ details: [{ metadata: { param: "budget_id" } }, {}, {}] });
  expect(asked).toEqual([]);
});

test("an export comes as lines, and as CSV to who accepts it", async () => {
  const usage = hostService(UsageService, {
    async *exportUsage({ table }) {
      yield { csv: Buffer.from(`${table.case ?? ""}\r\n`) };
    },
  });
  const client = createClient(UsageService, createLocalDoor([usage]));
  const edge = await startEdge({ deps: { rpc: [rpcService(UsageService, client)] } });
  const send = (accept: string) =>
    fetch(`${edge.url}/v1/usage:export`, {
      method: "POST",
      body: '{"attempts":{"tag":"a"}}',
      headers: { authorization: `Bearer ${edge.key}`, "content-type": "application/json", accept },
    });
  expect(await (await send("*/*")).text()).toBe(`{"csv":"${Buffer.from("attempts\r\n").toString("base64")}"}\n`);
  expect(await (await send("text/csv")).text()).toBe("attempts\r\n");
});

test("methods of the mesh have no path", async () => {
  const client = createClient(AccountService, createLocalDoor([]));
  const edge = await startEdge({ deps: { rpc: [rpcService(AccountService, client)] } });
  expect(edge.edge.routes.some(({ path }) => path.includes("atchKeys"))).toBe(false);
});
