import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { expect, test } from "vitest";
import { ask, events, exactRow, usableKey } from "./client.ts";
import type { Weir } from "./weir.ts";

/** The services' own methods as REST and JSON. */
export function restCases(weir: () => Weir): void {
  const get = (path: string, key?: string) =>
    ask(weir(), undefined, { method: "GET", path, ...(key === undefined ? {} : { key }) });
  const prompt = { messages: [{ role: "ROLE_USER", parts: [{ text: { text: "hello there" } }] }] };

  test.each([
    ["application/x-ndjson", (text: string) => text.trimEnd().split("\n")],
    ["text/event-stream", events],
  ])("Generate streams %s, and is metered to the token", async (accept, split) => {
    const answer = await ask(weir(), prompt, { path: "/v1/models/chat:generate", headers: { accept } });
    expect([answer.status, answer.broken]).toEqual([200, undefined]);
    const got = split(answer.text).map((line) => (JSON.parse(line) as { event: Record<string, unknown> }).event);
    expect(Object.keys(got[0] ?? {})).toEqual(["start"]);
    const { inputTokens, outputTokens } = await exactRow(weir(), answer.requestId);
    expect(got.at(-1)?.["end"]).toMatchObject({ usage: { inputTokens, outputTokens } });
  });

  test("Generate keeps to the key's models, and fails as google.rpc.Status", async () => {
    const secret = await usableKey(weir(), { models: ["private"] });
    const forbidden = await ask(weir(), prompt, { path: "/v1/models/chat:generate", key: secret });
    expect(forbidden.status).toBe(403);
    expect(forbidden.json).toMatchObject({ code: 7, details: [{ reason: "MODEL_FORBIDDEN" }, {}] });
    const unknown = await ask(weir(), prompt, { path: "/v1/models/no-such-model:generate" });
    expect([unknown.status, unknown.json?.["code"]]).toEqual([404, 5]);
  });

  test("tokens are counted", async () => {
    const counted = await ask(weir(), { request: { model: "chat", ...prompt } }, { path: "/v1/models:countTokens" });
    expect(counted.status).toBe(200);
    expect(counted.json?.["inputTokens"]).toBeGreaterThan(0);
  });

  test("routes are listed and got as the key may call them", async () => {
    const { json } = await get("/v1/routes");
    const { routes } = json as { routes: { name: string }[] };
    expect(routes.map(({ name }) => name)).toContain("routes/chat");
    expect((await get("/v1/routes/chat")).json).toMatchObject({ route: { name: "routes/chat", alias: "chat" } });
    const secret = await usableKey(weir(), { models: ["private"] });
    expect((await get("/v1/routes", secret)).json).toMatchObject({ routes: [{ alias: "private" }] });
    expect((await get("/v1/routes/chat", secret)).status).toBe(404);
  });

  test("costs come as JSON and as CSV, of the caller alone", async () => {
    expect((await get("/v1/costs?dimensions=day,model")).status).toBe(200);
    const csv = await get("/v1/attempts?format=csv");
    expect(csv.headers.get("content-type")).toContain("text/csv");
    expect(csv.text).toMatch(/^\w+(?:,\w+)+\r\n/);
    expect((await get("/v1/costs?nothing=1")).json).toMatchObject({ code: 3 });
  });

  test("an admin makes, changes and ends a budget and a key of the tenant", async () => {
    const key = await usableKey(weir(), {}, Role.ADMIN);
    const send = (method: string, path: string, body?: object) => ask(weir(), body, { method, path, key });
    const budget = { budgetId: "tests.rest", limitNanoUsd: "9000000000000000", window: { kind: "WINDOW_KIND_DAY" } };
    const made = await send("POST", "/v1/budgets", { ...budget, scope: { tenant: "tests" } });
    expect(made.json).toMatchObject({ budget: { name: "budgets/tests.rest", limitNanoUsd: "9000000000000000" } });
    expect((await send("POST", "/v1/budgets", { ...budget, scope: { tenant: "tests" } })).status).toBe(409);
    const changed = await send("PATCH", "/v1/budgets/tests.rest", { soft_limits: { percents: [50] }, disabled: true });
    expect(changed.json).toMatchObject({ budget: { softPercents: [50], disabled: true } });
    expect((await send("GET", "/v1/budgets/tests.rest")).json).toEqual(changed.json);
    expect((await send("DELETE", "/v1/budgets/tests.rest")).json).toEqual({});
    expect((await send("GET", "/v1/budgets/tests.rest")).json).toMatchObject({
      code: 5,
      details: [{ reason: "NOT_FOUND" }, {}],
    });

    const created = await send("POST", "/v1/keys", { tenant: "tenants/tests", displayName: "by REST" });
    const { key: resource } = created.json as { key: { name: string } };
    const revoked = await send("POST", `/v1/${resource.name}:revoke`);
    expect(revoked.json).toMatchObject({ key: { name: resource.name, revokeTime: expect.any(String) } });
  });

  test("what a role may not do is refused", async () => {
    const answer = await ask(weir(), { budgetId: "mine" }, { path: "/v1/budgets", key: await usableKey(weir(), {}) });
    expect(answer.status).toBe(403);
    expect(answer.json).toMatchObject({ code: 7, details: [{ reason: "FORBIDDEN" }, {}] });
  });
}
