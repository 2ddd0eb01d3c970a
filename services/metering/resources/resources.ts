import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { Principal } from "@weir/gen/weir/common/v1/principal_pb";
import type { BatchHold } from "@weir/gen/weir/passthrough/v1/forward_pb";
import type { BatchInput, ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { missingResource } from "@weir/kit/missing-resource";
import { WeirError } from "@weir/kit/weir-error";
import { principalOf } from "../confinement.ts";
import type { BatchInputColumn } from "../schema.ts";
import type { BatchMoney, ResourceRow, ResourceStore } from "./resource-store.ts";

/** Serves who owns what providers keep, each tenant its own. */
export function createResources(store: ResourceStore): ServiceImpl<typeof ResourceService> {
  /** Whoever asks for a batch reads it: it may have ended. What is not hastened is looked at in its own time. */
  async function hastenBatches(tenant: string, rows: readonly ResourceRow[]): Promise<void> {
    const batchIds = rows.filter(({ kind }) => kind === "batch").map(({ resourceId }) => resourceId);
    if (batchIds.length > 0) await store.hasten(tenant, batchIds).catch(() => undefined);
  }

  return {
    async recordResource({ resource, hold }, context) {
      const { tenant, key, user: endUser, tags } = callerOf(context);
      const place = resource?.place;
      if (resource === undefined || place === undefined) throw new WeirError(ErrorReason.INVALID_REQUEST);
      const { resourceId, kind, alias } = resource;
      const batchInput = resource.batchInput === undefined ? null : toInputColumn(resource.batchInput);
      const money = hold === undefined || kind !== "batch" ? undefined : fromProtoHold(hold);
      const recorded = await store.record(
        { tenant, key, endUser, tags },
        { resourceId, kind, alias, provider: place.provider, account: place.account, batchInput },
        money,
      );
      if (!recorded) throw new WeirError(ErrorReason.ALREADY_EXISTS, { metadata: { resource: resourceId } });
      return {};
    },

    async findResources({ resourceIds, partial }, context) {
      const { tenant } = callerOf(context);
      const rows = await store.find(tenant, resourceIds);
      await hastenBatches(tenant, rows);
      const byId = new Map(rows.map((row) => [row.resourceId, row]));
      const found = resourceIds.flatMap((id) => {
        const row = byId.get(id);
        if (row === undefined && !partial) throw missingResource(id);
        return row === undefined ? [] : [toProto(row)];
      });
      return { resources: found };
    },

    async listResources({ kind, pageSize, after, matching }, context) {
      const { tenant } = callerOf(context);
      const rows = await store.list(tenant, { kind, countMax: pageSize + 1, after, matching });
      if (rows === undefined) throw missingResource(after);
      await hastenBatches(tenant, rows.slice(0, pageSize));
      return { resources: rows.slice(0, pageSize).map(toProto), hasMore: rows.length > pageSize };
    },

    async forgetResource({ resourceId }, context) {
      await store.forget(callerOf(context).tenant, resourceId);
      return {};
    },
  };
}

function callerOf(context: HandlerContext): Principal {
  const principal = principalOf(context);
  if (principal !== undefined && principal.tenant !== "") return principal;
  throw new WeirError(ErrorReason.FORBIDDEN, { text: "The call must say for which tenant it is made." });
}

function toProto({ resourceId, kind, provider, account, alias, createTime, batchInput }: ResourceRow) {
  return {
    resourceId,
    kind,
    place: { provider, account },
    alias,
    createTime: timestampFromDate(createTime),
    ...(batchInput === null ? {} : { batchInput: toProtoInput(batchInput) }),
  };
}

function toInputColumn({ models, collections, endpoint }: BatchInput): BatchInputColumn {
  return {
    models: models.map(({ model, line, bound }) => ({
      model,
      line,
      ...(bound === undefined
        ? {}
        : {
            bound: {
              inputTokens: Number(bound.inputTokens),
              outputTokens: Number(bound.outputTokens),
              openChoices: Number(bound.openChoices),
              openLine: bound.openLine,
            },
          }),
    })),
    collections,
    endpoint,
  };
}

function toProtoInput({ models, collections, endpoint = "" }: BatchInputColumn) {
  return {
    models: models.map(({ model, line, bound }) => ({
      model,
      line,
      ...(bound === undefined
        ? {}
        : {
            bound: {
              inputTokens: BigInt(bound.inputTokens),
              outputTokens: BigInt(bound.outputTokens),
              openChoices: BigInt(bound.openChoices),
              openLine: bound.openLine,
            },
          }),
    })),
    collections: [...collections],
    endpoint,
  };
}

function fromProtoHold({ holder, parts }: BatchHold): BatchMoney {
  return {
    holder,
    parts: parts.map(({ model, leaseIds, chargeMaxNanoUsd: chargeMax }) => ({ model, leaseIds, chargeMax })),
  };
}
