import type { ServiceImpl } from "@connectrpc/connect";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import type { RandomBytes } from "@weir/kit/api-key";
import type { Clock } from "@weir/kit/clock";
import type { Log } from "@weir/kit/log";
import { createAccounts } from "./accounts.ts";
import { createAudit } from "./audit.ts";
import { createAuditStore } from "./audit-store.ts";
import { startDaily } from "./daily.ts";
import type { Database } from "./database.ts";
import { createKeyStore } from "./key-store.ts";
import { createKeyWatchStore } from "./key-watch-store.ts";
import { createRefusedCalls, type RefusedCalls } from "./refused-calls.ts";
import { createTeamStore } from "./team-store.ts";
import { createTeams } from "./teams.ts";
import { createTenantStore } from "./tenant-store.ts";
import { createUserStore } from "./user-store.ts";
import { createUsers } from "./users.ts";
import type { Waiting } from "./waiting.ts";

/** Tenants, teams, users and keys, and the log of what was done to them. */
export interface Identity {
  readonly accounts: ServiceImpl<typeof AccountService>;
  readonly teams: ServiceImpl<typeof TeamService>;
  readonly users: ServiceImpl<typeof UserService>;
  readonly audit: ServiceImpl<typeof AuditService>;
  /** For the other services, whose refusals belong in the log, too. */
  readonly refusedCalls: RefusedCalls;
  /** Deletes audit records that are older than 400 days, now and every day, until it is stopped. */
  startSweeper(): { stop(): void };
}

export interface IdentityDependencies {
  readonly database: Database;
  /** Key of the HMAC over keys' texts; every edge has the same. */
  readonly pepper: Buffer;
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Of the streams of WatchKeys. */
  readonly waiting: Waiting;
  readonly log: Log;
}

const recordsAtOnce = 1_000;

export function createIdentity({ database, pepper, clock, random, waiting, log }: IdentityDependencies): Identity {
  const tenants = createTenantStore(database);
  const keys = createKeyStore(database);
  const records = createAuditStore(database);
  const refusedCalls = createRefusedCalls({ store: records, clock, log });
  const watch = createKeyWatchStore(database);
  return {
    accounts: refusedCalls.watch(
      AccountService,
      createAccounts({ tenants, keys, watch, pepper, clock, random, waiting }),
    ),
    teams: refusedCalls.watch(TeamService, createTeams({ store: createTeamStore(database), waiting })),
    users: refusedCalls.watch(UserService, createUsers({ store: createUserStore(database), keys, clock, waiting })),
    audit: refusedCalls.watch(AuditService, createAudit({ store: records, clock })),
    refusedCalls,
    startSweeper: () =>
      startDaily({
        name: "audit sweep",
        async run(isStopped) {
          while (!isStopped() && (await records.sweep(recordsAtOnce)) === recordsAtOnce);
        },
        clock,
        log,
      }),
  };
}
