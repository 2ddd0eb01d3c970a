import { type DescService, getOption } from "@bufbuild/protobuf";
import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { access, Permission } from "@weir/gen/weir/common/v1/access_pb";
import { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { BatchService } from "@weir/gen/weir/passthrough/v1/batch_service_pb";
import { ForwardAttemptService } from "@weir/gen/weir/passthrough/v1/forward_attempt_service_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { AttemptService } from "@weir/gen/weir/routing/v1/attempt_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { methodPath } from "@weir/kit/context";

/** Who holds an identity of the mesh: a service, or the command line of whoever runs the gateway. */
export type MeshIdentity = "edge" | "router" | "pool" | "metering" | "operator";

/** Each service, and who calls those of its methods that are only for processes of the gateway. */
const services: readonly (readonly [service: DescService, meshCallers: readonly MeshIdentity[]])[] = [
  [AccountService, ["edge"]],
  [AuditService, ["edge"]],
  [BatchService, ["pool"]],
  [BudgetService, ["pool"]],
  [TeamService, []],
  [UserService, []],
  [ChatService, []],
  [ConversationService, ["edge"]],
  [IdempotencyService, ["edge"]],
  [LedgerService, []],
  [RequestService, ["edge"]],
  [UsageService, ["pool"]],
  [ForwardAttemptService, ["router"]],
  [PassthroughService, ["edge"]],
  [ResourceService, ["edge"]],
  [AttemptService, ["router"]],
  [RouteService, []],
];

/** What the public doors serve to callers is for who holds the doors, and for who runs the gateway. */
const publicCallers: readonly MeshIdentity[] = ["edge", "operator"];

const callersOf: ReadonlyMap<string, readonly string[]> = new Map(
  services.flatMap(([service, meshCallers]) =>
    service.methods.map((method): [string, readonly string[]] => [
      methodPath(method),
      getOption(method, access).permission === Permission.MESH ? meshCallers : publicCallers,
    ]),
  ),
);

const forEveryPeer = /^grpc\.(?:health|reflection)\./;

/**
 * Whether a process that is these services may call a method of another process.
 * @param method `weir.chat.v1.ChatService/Generate`; one that nobody is named for is nobody's
 */
export function mayCallMethod(identities: readonly string[], method: string): boolean {
  if (forEveryPeer.test(method)) return true;
  const callers = callersOf.get(method);
  return callers !== undefined && identities.some((identity) => callers.includes(identity));
}
