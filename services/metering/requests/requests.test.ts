import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import type { Client } from "@weir/kit/call";
import { createMesh } from "@weir/kit/mesh";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { migrate } from "../migrate.ts";
import { openTestDatabase, type TestDatabase } from "../testing.ts";
import { createRequestService } from "./request-service.ts";
import { createRequestStore, type RequestStore } from "./request-store.ts";

const noon = Date.UTC(2026, 10, 20, 12);

describe.each(["embedded", "postgres"] as const)("what clients met with, %s", (engine) => {
  let db: TestDatabase;
  let store: RequestStore;
  let client: Client<typeof RequestService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    await migrate(db.database);
    store = createRequestStore(db.database);
    const mesh = createMesh({ name: "test" });
    mesh.host("metering", RequestService, createRequestService(store));
    client = mesh.client(RequestService, "metering");
    await mesh.start();
  });
  afterAll(() => db.end());
  beforeEach(() => db.query("delete from request_records"));

  function record(requestId: string, facts: object = {}, startMs = noon) {
    return {
      requestId,
      startTime: timestampFromMs(startMs),
      tenant: "acme",
      key: "abcdefghijklmnop",
      method: "POST",
      route: "/v1/chat/completions",
      status: 200,
      complete: true,
      reason: "",
      durationUs: 800_000n,
      ...facts,
    };
  }

  test("a request is told once, whatever comes again, and reads as it was", async () => {
    const streamed = record("req_1", { firstContentUs: 120_500n });
    const refused = record("req_2", { status: 429, reason: "rate_limited" }, noon + 1.5);
    await client.recordRequests({ records: [streamed, refused] });
    await client.recordRequests({ records: [record("req_1", { status: 500 }), record("req_3")] });
    expect(
      await db.query(
        `select request_id, day::text, to_char(start_time at time zone 'UTC', 'HH24:MI:SS.US') as time, tenant, route, status,
           complete, error_reason, request_ms, first_content_ms from client_requests order by request_id limit 2`,
      ),
    ).toEqual([
      {
        request_id: "req_1",
        day: "2026-11-20",
        time: "12:00:00.000000",
        tenant: "acme",
        route: "/v1/chat/completions",
        status: 200,
        complete: true,
        error_reason: null,
        request_ms: "800.000",
        first_content_ms: "120.500",
      },
      expect.objectContaining({
        request_id: "req_2",
        status: 429,
        error_reason: "rate_limited",
        first_content_ms: null,
      }),
    ]);
    expect(await db.query("select count(*)::int as count from client_requests")).toEqual([{ count: 3 }]);
  });

  test("each request of an hour is in one of five counts", async () => {
    const outcomes = [
      { durationUs: 1_000n },
      { durationUs: 3_000n },
      { status: 404, reason: "model_not_found" },
      { status: 400, complete: false },
      { status: 503 },
      { complete: false },
      { status: 499, complete: false },
    ];
    await client.recordRequests({ records: outcomes.map((facts, index) => record(`req_${index}`, facts)) });
    await client.recordRequests({ records: [record("req_later", {}, noon + 3_600_000)] });
    const counts = "requests, answered_requests, refused_requests, failed_requests, broken_off_requests, left_requests";
    expect(await db.query(`select ${counts} from client_requests_by_hour where hour = '2026-11-20 12:00'`)).toEqual([
      {
        requests: "7",
        answered_requests: "2",
        refused_requests: "2",
        failed_requests: "1",
        broken_off_requests: "1",
        left_requests: "1",
      },
    ]);
  });

  test("what is older than 90 days goes, so many at a time", async () => {
    const day = 86_400_000;
    const records = [91, 92, 93, 89].map((days) => record(`req_${days}`, {}, Date.now() - days * day));
    await client.recordRequests({ records });
    expect([await store.sweep(2), await store.sweep(2), await store.sweep(2)]).toEqual([2, 1, 0]);
    expect(await db.query("select request_id from client_requests")).toEqual([{ request_id: "req_89" }]);
  });

  test("more than a thousand at once are refused", async () => {
    const records = Array.from({ length: 1_001 }, (_, index) => record(`req_${index}`));
    await expect(client.recordRequests({ records })).rejects.toThrow(/records/);
  });
});
