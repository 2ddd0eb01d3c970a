import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import type { Client } from "@weir/kit/call";
import { createMesh } from "@weir/kit/mesh";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { migrate } from "../migrate.ts";
import { openTestDatabase, type TestDatabase } from "../testing.ts";
import { keepRequestDays } from "./request-days.ts";
import { createRequestService } from "./request-service.ts";
import { createRequestStore } from "./request-store.ts";

const noon = Date.UTC(2026, 10, 20, 12);

/** The view of a version before, whose columns are those of today. */
const viewBefore = `select request_id, (start_time at time zone 'UTC')::date as day, start_time, tenant, key, method,
  route, status, complete, nullif(reason, '') as error_reason, round(duration_us / 1e3, 3) as request_ms,
  round(first_content_us / 1e3, 3) as first_content_ms from request_records`;

describe.each(["embedded", "postgres"] as const)("what clients met with, %s", (engine) => {
  let db: TestDatabase;
  let client: Client<typeof RequestService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    await migrate(db.database);
    const mesh = createMesh({ name: "test" });
    mesh.host("metering", RequestService, createRequestService(createRequestStore(db.database)));
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

  test("a day stands in its own table, and goes as a whole when it is older than 90 days", async () => {
    await db.query("delete from request_records");
    const dayMs = 86_400_000;
    const days = async () =>
      (await db.query("select tableoid::regclass::text as place, request_id from request_records order by 2")).map(
        ({ place, request_id: id }) => [id, String(place).replace("request_records_", "")],
      );
    const { made } = await keepRequestDays(db.database, noon);
    expect(made).toEqual(["19", "20", "21", "22"].map((day) => `request_records_2026_11_${day}`));
    expect(await keepRequestDays(db.database, noon)).toEqual({ made: [], dropped: [] });
    const records = [-400, -1, 0, 1, 3].map((days) => record(`req_${days}`, {}, noon + days * dayMs));
    await client.recordRequests({ records });
    await client.recordRequests({ records });
    expect(await days()).toEqual([
      ["req_-1", "2026_11_19"],
      ["req_-400", "default"],
      ["req_0", "2026_11_20"],
      ["req_1", "2026_11_21"],
      ["req_3", "default"],
    ]);
    // What came too early goes to its day, and what is too old goes.
    expect((await keepRequestDays(db.database, noon + dayMs)).made).toEqual(["request_records_2026_11_23"]);
    expect((await days()).filter(([, place]) => place === "default")).toEqual([]);
    // The 19th is over for 90 days at the end of 17 February.
    const horizon = Date.UTC(2027, 1, 18);
    expect((await keepRequestDays(db.database, horizon - 1)).dropped).toEqual([]);
    expect((await keepRequestDays(db.database, horizon)).dropped).toEqual(["request_records_2026_11_19"]);
    expect(await days()).toEqual([
      ["req_0", "2026_11_20"],
      ["req_1", "2026_11_21"],
      ["req_3", "2026_11_23"],
    ]);
  });

  const isAway = (thrown: unknown) => {
    expect(thrown).toMatchObject({ reason: ErrorReason.STORE_UNAVAILABLE });
    return false;
  };

  test("a day is made while its records come", async () => {
    await db.query("delete from request_records");
    const days = Array.from({ length: 12 }, (_, index) => Date.UTC(2030, 0, 1 + index, 12));
    let toldCount = 0;
    let isOver = false;
    const telling = (async () => {
      while (!isOver) {
        const records = days.map((timeMs) => record(`req_${toldCount++}`, {}, timeMs));
        // As edges do: a record that had found its table before its day was made is refused, and told again.
        while (!(await client.recordRequests({ records }).then(Boolean, isAway)));
      }
    })();
    try {
      for (const timeMs of days) await keepRequestDays(db.database, timeMs);
    } finally {
      isOver = true;
      await telling;
    }
    expect(await db.query("select count(*)::int as count from request_records")).toEqual([{ count: toldCount }]);
  });

  test("a filter by day reads that day's table alone", async () => {
    await keepRequestDays(db.database, noon);
    const plan = await db.query("explain select * from client_requests where day = '2026-11-20'");
    const tables = JSON.stringify(plan).match(/request_records_\w*?(?=_by_time| |")/g);
    expect(new Set(tables)).toEqual(new Set(["request_records_2026_11_20"]));
  });

  test("records from before there were days stay where they are, and go when the last of them is old", async () => {
    const upgraded = await openTestDatabase(engine);
    try {
      await migrate(upgraded.database);
      // As the version before made it, with a record of today and one of an edge whose clock is ahead.
      await upgraded.query(`drop view client_requests, client_requests_by_hour; drop table request_records;
        delete from schema_migrations where name in ('0026_request_records.sql', '0028_request_days.sql', 'views.sql')`);
      const before = "0026_request_records.sql";
      const text = readFileSync(join(import.meta.dirname, "..", "migrations", before), "utf8");
      await upgraded.query(text);
      await upgraded.query("insert into schema_migrations (name, checksum) values ($1, $2)", [
        before,
        createHash("sha256").update(text).digest("hex"),
      ]);
      await upgraded.query(`create view client_requests as ${viewBefore};
        insert into request_records
        select 'req_' || n, 'acme', '', 'POST', '/', 200, true, '', now() + n * interval '1 day', 1, null from unnest(array[0, 5]) n`);
      expect((await migrate(upgraded.database)).applied).toEqual(["0028_request_days.sql", "views.sql"]);
      expect((await migrate(upgraded.database)).applied).toEqual([]);
      await keepRequestDays(upgraded.database);
      const places = () =>
        upgraded.query("select request_id, tableoid::regclass::text as place from request_records order by 1");
      expect(await places()).toEqual([
        { request_id: "req_0", place: expect.stringMatching(/^request_records_until_/) },
        { request_id: "req_5", place: "request_records_default" },
      ]);
      expect(await upgraded.query("select request_id from client_requests order by 1")).toHaveLength(2);
      await keepRequestDays(upgraded.database, Date.now() + 92 * 86_400_000);
      expect((await places()).map(({ request_id: id }) => id)).toEqual(["req_5"]);
    } finally {
      await upgraded.end();
    }
  });

  test("more than a thousand at once are refused", async () => {
    const records = Array.from({ length: 1_001 }, (_, index) => record(`req_${index}`));
    await expect(client.recordRequests({ records })).rejects.toThrow(/records/);
  });
});
