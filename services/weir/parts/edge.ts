import { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { AuditService } from "@weir/gen/weir/account/v1/audit_service_pb";
import { BudgetService } from "@weir/gen/weir/account/v1/budget_service_pb";
import { TeamService } from "@weir/gen/weir/account/v1/team_service_pb";
import { UserService } from "@weir/gen/weir/account/v1/user_service_pb";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import type { Config } from "@weir/gen/weir/config/v1/config_pb";
import { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { LedgerService } from "@weir/gen/weir/metering/v1/ledger_service_pb";
import { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { type EdgeSettings, edgeSettings } from "@weir/edge/config";
import { createOwnNames } from "@weir/edge/files/own-names";
import { withOwnedFiles } from "@weir/edge/files/owned-files";
import { rpcService } from "@weir/edge/rpc/public-methods";
import { createEdge, type DependencyHealth, type Edge, type EdgeDeps } from "@weir/edge/service";
import type { Clock } from "@weir/kit/clock";
import type { Mesh } from "@weir/kit/mesh";
import { readConfig, type Snapshot } from "../configuration.ts";
import { version } from "../version.ts";
import type { Root } from "./part.ts";

type ClientsOfEdge = Pick<
  EdgeDeps,
  | "chat"
  | "routes"
  | "accounts"
  | "audit"
  | "conversations"
  | "idempotency"
  | "requests"
  | "passthrough"
  | "resources"
  | "ownNames"
  | "rpc"
>;

/**
 * What the edge calls; to be made before the mesh starts.
 * @param providers as they are configured at this moment
 */
export function clientsOfEdge(mesh: Mesh, clock: Clock, providers: () => Config["providers"]): ClientsOfEdge {
  const resources = mesh.client(ResourceService, "metering");
  const routes = mesh.client(RouteService, "router");
  const ownNames = createOwnNames({ resources, routes, providers, clock });
  const chat = withOwnedFiles(mesh.client(ChatService, "router"), ownNames);
  const accounts = mesh.client(AccountService, "metering");
  const audit = mesh.client(AuditService, "metering");
  return {
    chat,
    routes,
    accounts,
    audit,
    conversations: mesh.client(ConversationService, "metering"),
    idempotency: mesh.client(IdempotencyService, "metering"),
    requests: mesh.client(RequestService, "metering"),
    passthrough: mesh.client(PassthroughService, "router"),
    resources,
    ownNames,
    rpc: [
      rpcService(ChatService, chat),
      rpcService(RouteService, routes),
      rpcService(AccountService, accounts),
      rpcService(TeamService, mesh.client(TeamService, "metering")),
      rpcService(UserService, mesh.client(UserService, "metering")),
      rpcService(AuditService, audit),
      rpcService(BudgetService, mesh.client(BudgetService, "metering")),
      rpcService(UsageService, mesh.client(UsageService, "metering")),
      rpcService(LedgerService, mesh.client(LedgerService, "metering")),
    ],
  };
}

/** Builds the public door; it does not listen yet. */
export function buildEdge(root: Root, clients: ClientsOfEdge, dependencies: () => readonly DependencyHealth[]): Edge {
  const { configuration, telemetry, log, clock } = root;
  let settings = readConfig(() => settingsOf(configuration.current()));
  configuration.onChange((next) => {
    const nextSettings = readConfig(() => settingsOf(next));
    return () => {
      settings = nextSettings;
    };
  });
  return createEdge({
    ...clients,
    pepper: root.pepper(),
    settings: () => settings,
    dependencies,
    limitStore: root.sharedLimits?.store,
    renderMetrics: () => telemetry.renderMetrics(),
    clock,
    random: Math.random,
    meter: telemetry.meter,
    tracer: telemetry.tracer,
    log,
    version,
  });
}

function settingsOf({ config }: Snapshot): EdgeSettings {
  return edgeSettings(config.edge, config.aliases);
}
