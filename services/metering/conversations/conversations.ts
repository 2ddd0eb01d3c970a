import { type Duration, durationMs, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import type { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { ResponseState as ProtoState } from "@weir/gen/weir/conversation/v1/response_pb";
import { metadataNames } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import { isTenant, principalOf } from "../confinement.ts";
import type { Owner, ResponseRow, ResponseState, ResponseStore } from "./response-store.ts";

const turnsMaxDefault = 1_000;
const bytesMaxDefault = 33_554_432;

/** Serves stored responses, each to its tenant alone. */
export function createConversations(store: ResponseStore): ServiceImpl<typeof ConversationService> {
  return {
    async storeResponse(request, context) {
      const inserted = await store.insert(ownerOf(context), {
        ...request,
        previousResponseId: absentWhenBlank(request.previousResponseId),
        state: fromProtoState(request.state),
        output: request.output,
        timeToLiveMs: msOf(request.timeToLive),
      });
      if (!inserted) throw alreadyExists(request.responseId);
      return {};
    },

    async getResponse({ responseId }, context) {
      const row = await store.find(ownerOf(context).tenant, responseId);
      if (row === undefined) throw notFound(responseId);
      return { response: toProtoResponse(row) };
    },

    async deleteResponse({ responseId }, context) {
      if (!(await store.remove(ownerOf(context).tenant, responseId))) throw notFound(responseId);
      return {};
    },

    async getHistory({ responseId, turnsMax = turnsMaxDefault, bytesMax = bytesMaxDefault, partial }, context) {
      const history = await store.history(ownerOf(context).tenant, responseId, { turnsMax, bytesMax, partial });
      switch (history.kind) {
        case "missing":
          throw notFound(responseId);
        case "too-long":
          throw new WeirError(ErrorReason.INVALID_REQUEST, {
            text: "The conversation that is continued has grown too long; begin a new one with what still matters of it.",
            metadata: { param: "previous_response_id" },
          });
        case "turns":
          return { turns: [...history.turns], state: protoStates[history.state] };
      }
    },

    async findItems({ itemIds, bytesMax = bytesMaxDefault }, context) {
      const outputs = await store.outputsWith(ownerOf(context).tenant, itemIds, bytesMax);
      if (outputs === undefined) {
        throw new WeirError(ErrorReason.INVALID_REQUEST, {
          text: "What `input` refers to is too large; begin a new conversation with what still matters of it.",
          metadata: { param: "input" },
        });
      }
      return { outputs: [...outputs] };
    },

    async beginResponse(request, context) {
      const inserted = await store.insert(ownerOf(context), {
        ...request,
        previousResponseId: absentWhenBlank(request.previousResponseId),
        leaseMs: msOf(request.lease),
        timeToLiveMs: msOf(request.timeToLive),
      });
      if (!inserted) throw alreadyExists(request.responseId);
      return {};
    },

    async renewLeases({ leaseIds, lease }) {
      if (leaseIds.length === 0) return { endedLeaseIds: [] };
      const alive = new Set(await store.renew(leaseIds, msOf(lease)));
      return { endedLeaseIds: leaseIds.filter((leaseId) => !alive.has(leaseId)) };
    },

    async finishResponse({ leaseId, state, response, output }) {
      return { accepted: await store.finish(leaseId, { state: fromProtoState(state), response, output }) };
    },

    async cancelResponse({ responseId }, context) {
      const row = await store.cancel(ownerOf(context).tenant, responseId);
      if (row === undefined) throw notFound(responseId);
      if (!row.background) {
        throw new WeirError(ErrorReason.INVALID_REQUEST, {
          text: "Only a response that was created with `background: true` can be cancelled.",
        });
      }
      return { response: toProtoResponse(row) };
    },
  };
}

/** Who calls. @throws WeirError INVALID_REQUEST when the metadata names no tenant */
function ownerOf(context: HandlerContext): Owner {
  const principal = principalOf(context);
  if (principal === undefined || !isTenant(principal.tenant)) {
    throw new WeirError(ErrorReason.INVALID_REQUEST, {
      text: `The metadata entry ${metadataNames.principal} must name a tenant.`,
    });
  }
  return principal;
}

function notFound(responseId: string): WeirError {
  return new WeirError(ErrorReason.NOT_FOUND, {
    text: "There is no such response; it may have been deleted, or have expired.",
    metadata: { resource: responseId },
  });
}

function alreadyExists(responseId: string): WeirError {
  return new WeirError(ErrorReason.ALREADY_EXISTS, { metadata: { resource: responseId } });
}

const protoStates: Readonly<Record<ResponseState, ProtoState>> = {
  in_progress: ProtoState.IN_PROGRESS,
  completed: ProtoState.COMPLETED,
  incomplete: ProtoState.INCOMPLETE,
  failed: ProtoState.FAILED,
  cancelled: ProtoState.CANCELLED,
};

const states: ReadonlyMap<ProtoState, ResponseState> = new Map(
  Object.entries(protoStates).map(([state, proto]) => [proto, state as ResponseState]),
);

function fromProtoState(state: ProtoState): ResponseState {
  const known = states.get(state);
  if (known === undefined) throw new WeirError(ErrorReason.INVALID_REQUEST, { metadata: { param: "state" } });
  return known;
}

function toProtoResponse(row: ResponseRow) {
  return {
    responseId: row.responseId,
    previousResponseId: row.previousResponseId ?? "",
    background: row.background,
    state: protoStates[row.state],
    response: row.response,
    createTime: timestampFromDate(row.createTime),
    expireTime: timestampFromDate(row.expireTime),
  };
}

function msOf(duration: Duration | undefined): number {
  return duration === undefined ? 0 : durationMs(duration);
}

function absentWhenBlank(text: string): string | undefined {
  return text === "" ? undefined : text;
}
