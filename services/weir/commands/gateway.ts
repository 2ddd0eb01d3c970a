import type { DescService } from "@bufbuild/protobuf";
import type { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import type { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import type { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import type { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import type { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import type { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import type { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import type { Client } from "@weir/kit/call";
import { dataFolder, readTextFile } from "../data-folder.ts";
import { addressFault } from "../environment-values.ts";
import { meshOptions } from "../mesh-options.ts";
import { OperatorError } from "../operator-error.ts";
import { hereOf } from "./health.ts";
import { readSettings, type Settings } from "../settings.ts";
import { readTls } from "../tls-files.ts";

/** Metering of a running gateway. */
export interface Gateway {
  readonly accounts: Client<typeof AccountService>;
  readonly teams: Client<typeof TeamService>;
  readonly users: Client<typeof UserService>;
  readonly audit: Client<typeof AuditService>;
  readonly budgets: Client<typeof BudgetService>;
  readonly usage: Client<typeof UsageService>;
  readonly ledger: Client<typeof LedgerService>;
}

export const addressText = "metering of the gateway: host:port or unix:/path; default: the one in the data folder";

/** For every call of the command line. */
export const callTimeoutMs = 15_000;

/**
 * Calls metering of a running gateway as its operator: at the address given, else at WEIR_PEER_METERING, else at the one that the gateway
 * wrote into the data folder.
 * @throws OperatorError that names the fix
 */
export async function withGateway<T>(address: string | undefined, use: (gateway: Gateway) => Promise<T>): Promise<T> {
  // Help texts should not wait for gRPC to load.
  const [
    { AccountService },
    { TeamService },
    { UserService },
    { AuditService },
    { BudgetService },
    { UsageService },
    { LedgerService },
    { ErrorReason },
    { bearing },
    { createMesh },
    { operatorMetadata },
    { toWeirError },
  ] = await Promise.all([
    import("@weir/gen/weir/account/v1/account_service_pb"),
    import("@weir/gen/weir/account/v1/team_service_pb"),
    import("@weir/gen/weir/account/v1/user_service_pb"),
    import("@weir/gen/weir/account/v1/audit_service_pb"),
    import("@weir/gen/weir/account/v1/budget_service_pb"),
    import("@weir/gen/weir/metering/v1/usage_service_pb"),
    import("@weir/gen/weir/metering/v1/ledger_service_pb"),
    import("@weir/gen/weir/common/v1/error_reason_pb"),
    import("@weir/kit/client"),
    import("@weir/kit/mesh"),
    import("@weir/kit/operator"),
    import("@weir/kit/weir-error"),
  ]);
  const settings = readSettings(process.env);
  const mesh = createMesh({
    ...meshOptions(settings, "weir-command", settings.tls && readTls(settings.tls)),
    listen: undefined,
    peers: { metering: [meteringAddress(address, settings)] },
  });
  const metering = <S extends DescService>(service: S) => bearing(mesh.client(service, "metering"), operatorMetadata);
  const gateway = {
    accounts: metering(AccountService),
    teams: metering(TeamService),
    users: metering(UserService),
    audit: metering(AuditService),
    budgets: metering(BudgetService),
    usage: metering(UsageService),
    ledger: metering(LedgerService),
  };
  // Links and their timers keep no process alive.
  const alive = setTimeout(() => {}, 2 * callTimeoutMs);
  try {
    await mesh.start();
    return await use(gateway);
  } catch (error) {
    if (error instanceof OperatorError) throw error;
    const { reason, message } = toWeirError(error);
    const away = reason === ErrorReason.OVERLOADED || reason === ErrorReason.DEADLINE_EXCEEDED;
    throw new OperatorError(away ? "the gateway does not answer; is it running? `npm start` starts it" : message, {
      cause: error,
    });
  } finally {
    clearTimeout(alive);
    await mesh.close();
  }
}

function meteringAddress(given: string | undefined, settings: Settings): string {
  const fault = given === undefined ? undefined : addressFault(given);
  if (fault !== undefined) throw new OperatorError(`--address: ${fault}`);
  const file = dataFolder(settings.dataDir).meteringAddress;
  const address = given ?? settings.peers.metering?.[0] ?? settings.listen ?? readTextFile(file);
  if (address !== undefined) return hereOf(address);
  throw new OperatorError(
    `no gateway was found: ${file} does not exist; start one with \`npm start\`, or say where its metering is with --address`,
  );
}
