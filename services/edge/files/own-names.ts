import { fromBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import type { ProviderConfig } from "@weir/gen/weir/config/v1/provider_pb";
import type { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Route, RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { type Client, type Metadata, metadataNames } from "@weir/kit/call";
import type { Clock } from "@weir/kit/clock";
import { missingResource } from "@weir/kit/missing-resource";
import { WeirError } from "@weir/kit/weir-error";
import { CallerRefused } from "../auth/refused-caller.ts";
import { findRoute } from "../routes/models.ts";
import { checkReach, collectionKind, type Reach } from "./collections.ts";
import { isMadeModel, mayBeMadeModel, type Names } from "./kept-names.ts";

/** A call that names something. */
export interface NamingCall {
  /** Who calls; undefined: the door does not say. */
  readonly caller: Reach | undefined;
  readonly metadata: Metadata;
  /** The model that it names; empty: none, so that nothing but what is on record may be named. */
  readonly alias: string;
}

/**
 * The rule of what a caller may name of what providers keep: what is on record as its tenant's, and at providers whose accounts the
 * operator has said to be its tenant's (`account_tenants`) anything. Of an alias, all targets must be such ones.
 */
export interface OwnNames {
  /**
   * Lets a call name what it names. Asks nobody where that is nothing.
   * @throws WeirError NOT_FOUND for ids that are others' or nobody's, and for collections that the caller is confined away from;
   * MODEL_NOT_FOUND for a model that somebody else made; FORBIDDEN, `member`, for what is never on record, and when nobody calls;
   * STORE_UNAVAILABLE and its like when it cannot be found out
   */
  check(names: Names, call: NamingCall): Promise<void>;
  /** Whether a call by an alias may name what is not on record. */
  allows(alias: string, metadata: Metadata): Promise<boolean>;
  /** Those of some models, as providers name them, that were not made by others. @throws as `check` */
  ownModels(models: readonly string[], metadata: Metadata): Promise<ReadonlySet<string>>;
}

export interface OwnNamesDeps {
  readonly resources: Pick<Client<typeof ResourceService>, "findResources">;
  readonly routes: Pick<Client<typeof RouteService>, "listRoutes">;
  /** By their ids. */
  readonly providers: () => Readonly<Record<string, Pick<ProviderConfig, "accountTenants">>>;
  readonly clock: Clock;
}

/** The kind under which models that were tuned are on record, see weir.passthrough.v1.Resource. */
export const modelKind = "model";

const timeoutMs = 5_000;
const idsMax = 1_000;
const idCharsMax = 256;
/** What was found to be a tenant's stays known for so long: ids are not given twice. */
const knownMs = 60_000;
const knownMax = 10_000;

/** What is known of an id. */
interface Known {
  readonly kind: string;
  readonly untilMs: number;
}

export function createOwnNames({ resources, routes, providers, clock }: OwnNamesDeps): OwnNames {
  /** By tenant and id; the one that was asked about longest ago comes first. */
  const known = new Map<string, Known>();

  /** Kinds of those that are on record, by id. */
  async function recorded(ids: readonly string[], tenant: string, metadata: Metadata): Promise<Map<string, string>> {
    if (ids.length > idsMax) {
      throw new WeirError(ErrorReason.INVALID_REQUEST, { text: "The request names too many files." });
    }
    const nowMs = clock.monotonic();
    const kinds = new Map<string, string>();
    const asked: string[] = [];
    for (const id of ids) {
      const own = known.get(`${tenant}\n${id}`);
      if (own !== undefined && own.untilMs > nowMs) kinds.set(id, own.kind);
      else if (id.length <= idCharsMax) asked.push(id);
    }
    if (asked.length === 0) return kinds;
    const found = await resources.findResources({ resourceIds: asked, partial: true }, { metadata, timeoutMs });
    for (const { resourceId, kind } of found.resources) {
      remember(`${tenant}\n${resourceId}`, { kind, untilMs: nowMs + knownMs });
      kinds.set(resourceId, kind);
    }
    return kinds;
  }

  function remember(key: string, own: Known): void {
    known.delete(key);
    if (known.size >= knownMax) known.delete(known.keys().next().value as string);
    known.set(key, own);
  }

  async function routeOf(alias: string): Promise<Route | undefined> {
    const listed = await routes.listRoutes({}, { timeoutMs });
    return findRoute(listed.routes, alias);
  }

  async function allows(alias: string, metadata: Metadata): Promise<boolean> {
    if (alias === "") return false;
    const tenant = tenantOf(metadata);
    const all = providers();
    const isOwn = (provider: string) =>
      (all[provider]?.accountTenants ?? []).some((name) => name === tenant || name === everyTenant);
    if (!Object.keys(all).some(isOwn)) return false;
    const { targets = [] } = (await routeOf(alias)) ?? {};
    return targets.length > 0 && targets.every(({ provider }) => isOwn(provider));
  }

  /** @throws WeirError MODEL_NOT_FOUND when a pattern would let the caller name a model that somebody else made */
  async function checkModel(alias: string, tenant: string, metadata: Metadata): Promise<void> {
    const route = await routeOf(alias);
    // What an alias leads to by its full name is the operator's to say.
    if (route === undefined || route.alias === alias || !route.targets.some(({ model }) => model === "")) return;
    const model = alias.slice(route.alias.length - 1);
    if (!isMadeModel(model) || (await recorded([model], tenant, metadata)).get(model) === modelKind) return;
    if (!(await allows(alias, metadata)))
      throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { metadata: { model: alias } });
  }

  return {
    allows,

    async check({ ids, stores, members }, { caller, metadata, alias }) {
      const mayBeMade = mayBeMadeModel(alias);
      if (ids.length + members.length === 0 && !mayBeMade) return;
      const tenant = tenantOf(metadata);
      if (caller === undefined) throw new WeirError(ErrorReason.FORBIDDEN);
      if (mayBeMade) await checkModel(alias, tenant, metadata);
      const [member] = members;
      if (member !== undefined && !(await allows(alias, metadata))) throw unrecordedName(member, caller);
      const kinds = ids.length === 0 ? none : await recorded(ids, tenant, metadata);
      const missing = ids.find((id) => !kinds.has(id));
      if (missing !== undefined && !(await allows(alias, metadata))) throw missingResource(missing);
      checkReach([...stores, ...ids.filter((id) => kinds.get(id) === collectionKind)], caller);
    },

    async ownModels(models, metadata) {
      const made = models.filter(isMadeModel);
      if (made.length === 0) return new Set(models);
      const kinds = await recorded(made, tenantOf(metadata), metadata);
      return new Set(models.filter((model) => !made.includes(model) || kinds.get(model) === modelKind));
    },
  };
}

const everyTenant = "*";
const none: ReadonlyMap<string, string> = new Map();

/** What a call is told that names what is never on record. @param member under which it stands */
function unrecordedName(member: string, caller: Reach): WeirError {
  return new CallerRefused(caller, ErrorReason.FORBIDDEN, "account_tenants", {
    text: `\`${member}\` names what a provider keeps and this gateway has no record of: leave it out, or have the operator list this tenant in \`account_tenants\` of every provider that the model's alias leads to.`,
    metadata: { param: member, member },
  });
}

/** @throws WeirError FORBIDDEN when nobody calls */
function tenantOf(metadata: Metadata): string {
  const { tenant } = fromBinary(PrincipalSchema, Buffer.from(metadata[metadataNames.principal] ?? "", "base64"));
  if (tenant === "") throw new WeirError(ErrorReason.FORBIDDEN);
  return tenant;
}
