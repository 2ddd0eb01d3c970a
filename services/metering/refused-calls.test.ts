import { create, toBinary } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { callMetadata, hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { operatorMetadata } from "@weir/kit/operator";
import { WeirError } from "@weir/kit/weir-error";
import { expect, test } from "vitest";
import type { RefusalRow } from "./audit-store.ts";
import { createRefusedCalls } from "./refused-calls.ts";
import { silentLog } from "./testing.ts";

/** A service that answers every question for a team with one failure, and what is written of it. */
function refusing(reason: WeirError["reason"]) {
  const written: RefusalRow[] = [];
  const calls = createRefusedCalls({
    store: {
      async addRefusals(rows) {
        written.push(...rows);
      },
    },
    clock: systemClock,
    log: silentLog,
  });
  const fails = async () => {
    throw new WeirError(reason);
  };
  const implementation = Object.fromEntries(TeamService.methods.map(({ localName }) => [localName, fails]));
  const watched = calls.watch(TeamService, implementation as unknown as ServiceImpl<typeof TeamService>);
  const teams = createClient(TeamService, createLocalDoor([hostService(TeamService, watched)]));
  return { written, calls, teams };
}

const principal = toBinary(PrincipalSchema, create(PrincipalSchema, { tenant: "acme", key: "k", role: Role.ADMIN }));
const metadata = callMetadata(Buffer.from(principal).toString("base64"), "req_1", undefined);

test("a thousand kinds of refusal are told apart in a second, the rest together, and none is lost", async () => {
  const { written, calls, teams } = refusing(ErrorReason.FORBIDDEN);
  for (let number = 0; number < 1_500; number++) {
    const asked = teams.getTeam({ name: `teams/acme.t${number}` }, { metadata });
    await expect(asked).rejects.toMatchObject({ reason: ErrorReason.FORBIDDEN });
  }
  await calls.close();
  expect(written.reduce((total, { count }) => total + count, 0n)).toBe(1_500n);
  expect(written.length).toBeLessThanOrEqual(3_000);
  expect(written[0]).toMatchObject({
    action: "teams.get",
    resource: "teams/acme.t0",
    tenantId: "acme",
    requestId: "req_1",
  });
  const together = written.filter(({ resource }) => resource === "");
  expect(together.every(({ tenantId, actor }) => tenantId === null && actor.kind === "unknown")).toBe(true);
});

test("what an operator does not find, and what fails otherwise, is no refusal", async () => {
  for (const [reason, options, count] of [
    [ErrorReason.NOT_FOUND, { metadata: operatorMetadata }, 0],
    [ErrorReason.NOT_FOUND, { metadata }, 1],
    [ErrorReason.STORE_UNAVAILABLE, { metadata }, 0],
    [ErrorReason.INVALID_REQUEST, { metadata }, 0],
    [ErrorReason.FORBIDDEN, {}, 1],
  ] as const) {
    const { written, calls, teams } = refusing(reason);
    await expect(teams.getTeam({ name: "teams/acme.a" }, options)).rejects.toMatchObject({ reason });
    await calls.close();
    expect(written).toHaveLength(count);
  }
});
