import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import {
  CostDimension,
  type ExportUsageRequest,
  type ListAttemptsRequest,
  type ListCostsRequest,
  UsageService,
} from "@weir/gen/weir/metering/v1/usage_service_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { WeirError } from "@weir/kit/weir-error";
import { afterEach, expect, test } from "vitest";
import { rpcService } from "./rpc/public-methods.ts";
import { eventually, startEdge, stopEdges } from "./testing/harness.ts";

afterEach(stopEdges);

/** An edge before a ledger that answers little and remembers what it was asked. */
async function startWithLedger(fail?: () => void) {
  const asked: (ListCostsRequest | ListAttemptsRequest | ExportUsageRequest)[] = [];
  const ledger = hostService(UsageService, {
    listCosts(request) {
      asked.push(request);
      fail?.();
      return { rows: [{ day: "2026-11-20", costNanoUsd: 5n }], truncated: true, nextPageToken: "next" };
    },
    listAttempts(request) {
      asked.push(request);
      return { attempts: [{ attemptId: "a", inputTokens: 3n, tags: { team: "search" } }] };
    },
    async *exportUsage(request) {
      asked.push(request);
      fail?.();
      yield { csv: Buffer.from("day,cost_usd\r\n") };
      for (let day = 1; day <= 3; day++) yield { csv: Buffer.from(`2026-11-0${day},0.000000005\r\n`) };
    },
  });
  const usage = createClient(UsageService, createLocalDoor([ledger]));
  const edge = await startEdge({ deps: { rpc: [rpcService(UsageService, usage)] } });
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${edge.url}${path}`, { headers: { authorization: `Bearer ${edge.key}`, ...headers } });
  const head = (path: string) =>
    fetch(`${edge.url}${path}`, { method: "HEAD", headers: { authorization: `Bearer ${edge.key}` } });
  return { asked, get, head };
}

test("costs are asked for as the parameters say", async () => {
  const { asked, get } = await startWithLedger();
  const response = await get(
    "/v1/costs?start_time=2026-11-01&endTime=2026-11-21T10:00:00.5%2B01:00&dimensions=day,COST_DIMENSION_TAG&tag=team%3Dsearch&row_count_max=7&page_token=t",
  );
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
  expect(await response.json()).toEqual({
    rows: [{ day: "2026-11-20", costNanoUsd: "5" }],
    truncated: true,
    nextPageToken: "next",
  });
  expect(asked[0]).toMatchObject({
    startTime: { seconds: BigInt(Date.UTC(2026, 10, 1) / 1_000) },
    endTime: { seconds: BigInt(Date.UTC(2026, 10, 21, 9) / 1_000), nanos: 500_000_000 },
    dimensions: [CostDimension.DAY, CostDimension.TAG],
    tenant: "",
    tag: "team=search",
    rowCountMax: 7,
    pageToken: "t",
  });
});

test("attempts come as proto JSON", async () => {
  const { asked, get } = await startWithLedger();
  const response = await get("/v1/attempts?request_id=req_1&pageSize=5&tenant=acme");
  expect(await response.json()).toEqual({
    attempts: [{ attemptId: "a", inputTokens: "3", tags: { team: "search" } }],
  });
  expect(asked[0]).toMatchObject({ requestId: "req_1", pageSize: 5, tenant: "acme" });
});

test.each([
  ["format", "/v1/costs?format=csv&tenant=acme", {}],
  ["Accept", "/v1/costs?tenant=acme", { accept: "text/csv, */*;q=0.5" }],
])("CSV comes when %s asks for it", async (_, path, headers) => {
  const { asked, get } = await startWithLedger();
  const response = await get(path, headers);
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toMatch(/^text\/csv/);
  expect(response.headers.get("content-disposition")).toBe('attachment; filename="costs.csv"');
  expect(await response.text()).toBe(
    "day,cost_usd\r\n2026-11-01,0.000000005\r\n2026-11-02,0.000000005\r\n2026-11-03,0.000000005\r\n",
  );
  expect(asked[0]).toMatchObject({ table: { case: "costs", value: { tenant: "acme" } } });
});

test.each([
  ["/v1/costs?start_time=yesterday", "start_time"],
  ["/v1/costs?start_time=2026-13-01", "start_time"],
  ["/v1/costs?start_time=2026-11-01&startTime=2026-11-01", "start_time"],
  ["/v1/costs?end_time=9999-12-31T23:59:59-05:00", "end_time"],
  ["/v1/costs?dimensions=colour", "dimensions"],
  ["/v1/costs?dimensions=day,day", "dimensions"],
  ["/v1/costs?row_count_max=-1", "row_count_max"],
  ["/v1/costs?key=a&key=b", "key"],
  ["/v1/costs?format=xml", "format"],
  ["/v1/costs?format=csv&page_token=t", "format"],
])("%s is refused, and nothing is asked", async (path, param) => {
  const { asked, get } = await startWithLedger();
  const response = await get(path);
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ code: 3, details: [{ metadata: { param } }, {}, {}] });
  expect(asked).toEqual([]);
});

test.each(["/v1/costs?request_id=x", "/v1/attempts?dimensions=day", "/v1/costs?__proto__=x"])(
  "%s names no parameter, and the answer says which there are",
  async (path) => {
    const { get } = await startWithLedger();
    const response = await get(path);
    expect(response.status).toBe(400);
    expect(JSON.stringify(await response.json())).toContain("start_time, end_time");
  },
);

test.each(["/v1/costs", "/v1/costs?format=csv"])("%s fails with a status of its own", async (path) => {
  const { get } = await startWithLedger(() => {
    throw new WeirError(ErrorReason.STORE_UNAVAILABLE, { retryAfterMs: 1_000 });
  });
  const response = await get(path);
  expect(response.status).toBe(503);
  expect(response.headers.get("retry-after")).toBe("1");
});

test("an export ends when its client leaves", async () => {
  let hasEnded = false;
  const ledger = hostService(UsageService, {
    async *exportUsage(_, { signal }) {
      try {
        while (!signal.aborted) {
          yield { csv: Buffer.alloc(65_536, "x") };
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        hasEnded = true;
      }
    },
  });
  const usage = createClient(UsageService, createLocalDoor([ledger]));
  const edge = await startEdge({ deps: { rpc: [rpcService(UsageService, usage)] } });
  const leaving = new AbortController();
  const response = await fetch(`${edge.url}/v1/attempts?format=csv`, {
    headers: { authorization: `Bearer ${edge.key}` },
    signal: leaving.signal,
  });
  const reader = response.body?.getReader();
  await reader?.read();
  leaving.abort();
  await eventually(() => hasEnded);
});

test("HEAD has the head of the CSV, and exports nothing", async () => {
  const { asked, head } = await startWithLedger();
  const response = await head("/v1/attempts?format=csv");
  expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([
    200,
    "text/csv; charset=utf-8; header=present",
    "",
  ]);
  expect(asked).toEqual([]);
});

test("nobody asks without a key", async () => {
  const { asked, get } = await startWithLedger();
  for (const path of ["/v1/costs", "/v1/attempts"]) {
    expect((await get(path, { authorization: "Bearer weir_wrong" })).status).toBe(401);
  }
  expect(asked).toEqual([]);
});
