import { metrics } from "@opentelemetry/api";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { type RequestRecord, RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { createCaller } from "./auth/caller.ts";
import type { Outcome } from "./report.ts";
import { createRequestRecords } from "./request-records.ts";
import { createManualClock } from "./testing/manual-clock.ts";

const caller = createCaller({
  id: "abcdefghijklmnop",
  isToken: false,
  tenant: "acme",
  role: Role.MEMBER,
  everyTenant: false,
  team: "",
  user: "",
  scope: undefined,
  expireMs: Number.POSITIVE_INFINITY,
});

function setUp() {
  const clock = createManualClock(1_700_000_000_000);
  const told: RequestRecord[][] = [];
  const state = { isAway: false, refuses: false, dropped: 0 };
  const hosted = hostService(RequestService, {
    recordRequests({ records }) {
      if (state.isAway) throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
      if (state.refuses) throw new WeirError(ErrorReason.INVALID_REQUEST);
      told.push(records);
      return {};
    },
  });
  const meter = Object.assign(Object.create(metrics.getMeter("test")) as ReturnType<typeof metrics.getMeter>, {
    createCounter: () => ({ add: (count: number) => void (state.dropped += count) }),
  });
  const requests = createClient(RequestService, createLocalDoor([hosted], { onDefect: () => undefined }));
  const records = createRequestRecords({ requests, clock, meter, log: silentLog });
  const tell = (id: string, changes: Partial<Outcome> = {}) =>
    records.tell({
      id,
      method: "POST",
      label: "/v1/chat/completions",
      status: 200,
      startMs: clock.monotonic() - 250,
      isComplete: true,
      firstContentMs: undefined,
      caller,
      failure: undefined,
      defect: undefined,
      span: undefined,
      action: "chat",
      source: () => "192.0.2.1",
      ...changes,
    });
  const pass = async () => {
    clock.advance(1_000);
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  return { clock, told, state, records, tell, pass };
}

test("requests of a second leave together, each with what its client met with", async () => {
  const { told, tell, pass } = setUp();
  tell("req_1", { firstContentMs: 12.3456 });
  const failure = new WeirError(ErrorReason.RATE_LIMITED);
  tell("req_2", { status: 429, failure });
  await pass();
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject([
    {
      requestId: "req_1",
      tenant: "acme",
      key: "abcdefghijklmnop",
      route: "/v1/chat/completions",
      status: 200,
      complete: true,
      reason: "",
      startTime: { seconds: 1_699_999_999n, nanos: 750_000_000 },
      durationUs: 250_000n,
      firstContentUs: 12_346n,
    },
    { requestId: "req_2", status: 429, reason: "rate_limited" },
  ]);
  expect(told[0]?.[1]?.firstContentUs).toBeUndefined();
});

test("of a request without a known caller nothing is told", async () => {
  const { told, tell, pass } = setUp();
  tell("req_1", { caller: undefined, status: 401 });
  await pass();
  expect(told).toEqual([]);
});

test("while metering is away so many are kept, in their order, and later ones are counted", async () => {
  const { told, state, tell, pass } = setUp();
  state.isAway = true;
  for (let index = 0; index < 20_003; index++) tell(`req_${index}`);
  await pass();
  expect(state.dropped).toBe(3);
  state.isAway = false;
  await pass();
  expect(told.map((records) => records.length)).toEqual(Array.from({ length: 20 }, () => 1_000));
  expect(told.flat().map(({ requestId }) => requestId)).toEqual(
    Array.from({ length: 20_000 }, (_, index) => `req_${index}`),
  );
});

test("what metering refuses is counted, and does not hold up what comes after", async () => {
  const { told, state, tell, pass } = setUp();
  state.refuses = true;
  tell("req_1");
  await pass();
  expect(state.dropped).toBe(1);
  state.refuses = false;
  tell("req_2");
  await pass();
  expect(told.flat().map(({ requestId }) => requestId)).toEqual(["req_2"]);
});

test("the end waits for what is left", async () => {
  const { told, tell, records } = setUp();
  tell("req_1");
  await records.close();
  expect(told.flat()).toHaveLength(1);
});
