import { AuditActorKind, AuditService, type Refusal } from "@weir/gen/weir/account/v1/audit_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { silentLog } from "@weir/kit/log";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import { createManualClock } from "../testing/manual-clock.ts";
import { type Caller, createCaller } from "./caller.ts";
import { CallerRefused } from "./refused-caller.ts";
import { createRefusals, isRefusal, type Refused } from "./refusals.ts";

const ada = createCaller({
  id: "abcdefghijklmnop",
  isToken: false,
  tenant: "acme",
  role: Role.MEMBER,
  everyTenant: false,
  team: "",
  user: "acme.ada",
  scope: undefined,
  expireMs: Number.POSITIVE_INFINITY,
});

function setUp() {
  const clock = createManualClock(1_700_000_000_000);
  const told: Refusal[][] = [];
  /** How the next calls end; `lost`: it was written down, and the answer was lost. */
  const fates: ("away" | "lost")[] = [];
  const hosted = hostService(AuditService, {
    recordRefusals({ refusals }) {
      const fate = fates.shift();
      if (fate === "away") throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
      told.push(refusals);
      if (fate === "lost") throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
      return {};
    },
  });
  const audit = createClient(AuditService, createLocalDoor([hosted], { onDefect: () => undefined }));
  const refusals = createRefusals({ audit, clock, log: silentLog });
  const tell = (reason: typeof invalid | typeof limited, changes: Partial<Refused> = {}) =>
    refusals.tell({
      failure: new WeirError(reason),
      caller: undefined,
      source: "192.0.2.1",
      action: "chat",
      requestId: "req_1",
      ...changes,
    });
  const pass = async () => {
    clock.advance(2_000);
    await settled();
  };
  return { clock, refusals, told, fates, tell, pass };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

const invalid = ErrorReason.API_KEY_INVALID;
const limited = ErrorReason.RATE_LIMITED;

test("what is alike is counted, and told once", async () => {
  const { clock, told, tell, pass, refusals } = setUp();
  for (let index = 0; index < 3; index++) {
    tell(invalid, { requestId: `req_${index}` });
    clock.advance(100);
  }
  tell(invalid, { source: "192.0.2.2" });
  tell(limited, { caller: ada, failure: new WeirError(limited, { metadata: { limit: "requests" } }) });
  refusals.tell({
    failure: new CallerRefused(ada, ErrorReason.FORBIDDEN, "accounts_write"),
    caller: undefined,
    source: "192.0.2.1",
    action: "keys.create",
    requestId: "req_9",
  });
  expect(told).toEqual([]);
  await pass();
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject([
    {
      action: "chat",
      reason: "API_KEY_INVALID",
      count: 3n,
      requestId: "req_0",
      address: "192.0.2.1",
      actor: { kind: AuditActorKind.UNKNOWN },
    },
    { count: 1n, address: "192.0.2.2" },
    {
      reason: "RATE_LIMITED",
      detail: "requests",
      actor: {
        kind: AuditActorKind.CALLER,
        key: "abcdefghijklmnop",
        user: "acme.ada",
        tenant: "acme",
        role: Role.MEMBER,
      },
    },
    { action: "keys.create", reason: "FORBIDDEN", detail: "accounts_write", actor: { key: "abcdefghijklmnop" } },
  ]);
  const [first] = told[0] ?? [];
  expect(Number(first?.lastTime?.nanos) - Number(first?.firstTime?.nanos)).toBe(200_000_000);
  await pass();
  expect(told).toHaveLength(1);
});

test("other failures are nobody's refusals, and what a service forbade it writes down itself", () => {
  for (const reason of [
    ErrorReason.INVALID_REQUEST,
    ErrorReason.NOT_FOUND,
    ErrorReason.FORBIDDEN,
    ErrorReason.OVERLOADED,
  ] as const) {
    expect(isRefusal(new WeirError(reason))).toBe(false);
  }
  expect(isRefusal(new CallerRefused(ada, ErrorReason.FORBIDDEN, "audit_read"))).toBe(true);
  expect(isRefusal(new WeirError(ErrorReason.MODEL_FORBIDDEN))).toBe(true);
});

test("while the audit log is away counts go on, and what may have arrived is told again under the same id", async () => {
  const { told, fates, tell, pass } = setUp();
  fates.push("lost", "away", "away");
  tell(invalid);
  await pass();
  for (let index = 0; index < 5; index++) tell(invalid);
  await pass();
  await pass();
  await pass();
  await pass();
  const all = told.flat();
  expect(all.map(({ count }) => count)).toEqual([1n, 1n, 5n]);
  expect(all[1]?.refusalId).toBe(all[0]?.refusalId);
  expect(all[2]?.refusalId).not.toBe(all[0]?.refusalId);
});

test("beyond a thousand kinds none is lost: they are told without address and caller", async () => {
  const { told, tell, pass, refusals } = setUp();
  for (let index = 0; index < 5_000; index++) tell(invalid, { source: `10.0.${index >> 8}.${index & 255}` });
  tell(limited, { caller: ada });
  expect(refusals.size).toBe(1_002);
  await pass();
  const all = told.flat();
  expect(told.map((batch) => batch.length)).toEqual([1_000, 2]);
  expect(all.reduce((sum, { count }) => sum + count, 0n)).toBe(5_001n);
  expect(all[1_000]).toMatchObject({
    count: 4_000n,
    address: "",
    action: "chat",
    actor: { kind: AuditActorKind.UNKNOWN },
  });
  expect(all[1_001]).toMatchObject({ count: 1n, reason: "RATE_LIMITED", actor: { key: "" } });
});

test("what is left is told when the edge ends, and an audit log that is away does not hold it up", async () => {
  const { told, fates, tell, refusals, clock } = setUp();
  tell(invalid);
  await refusals.close();
  expect(told.flat()).toHaveLength(1);
  const other = setUp();
  other.fates.push("away", "away");
  other.tell(invalid);
  await other.refusals.close();
  expect(other.clock.waiting).toBe(0);
  expect([clock.waiting, fates]).toEqual([0, []]);
});

test("a caller who came with a token is named by its tenant and account", async () => {
  const { told, tell, pass } = setUp();
  const caller: Caller = createCaller({
    id: "jwt-0123",
    isToken: true,
    tenant: "globex",
    role: Role.ADMIN,
    everyTenant: false,
    team: "",
    user: "globex.bob",
    scope: undefined,
    expireMs: 1,
  });
  tell(limited, { caller });
  await pass();
  expect(told.flat()).toMatchObject([
    { actor: { key: "jwt-0123", user: "globex.bob", tenant: "globex", role: Role.ADMIN } },
  ]);
});
