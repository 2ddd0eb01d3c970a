import { fromBinary } from "@bufbuild/protobuf";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ClaimState, type IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { metadataNames, requestMetadata } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import type { Claimed, ClaimStore } from "./claim-store.ts";

const states = {
  claimed: ClaimState.CLAIMED,
  "in-use": ClaimState.IN_USE,
  "other-request": ClaimState.OTHER_REQUEST,
  answered: ClaimState.ANSWERED,
} as const satisfies Record<Claimed["kind"], ClaimState>;

/** Serves claims on idempotency keys, each to its tenant alone. */
export function createIdempotencyService(store: ClaimStore): ServiceImpl<typeof IdempotencyService> {
  return {
    async claimKey({ keyId, requestDigest, claimId, lease, timeToLive }, context) {
      const claim = { keyId, requestDigest, claimId, leaseMs: msOf(lease), timeToLiveMs: msOf(timeToLive) };
      const claimed = await store.claim(tenantOf(context), claim);
      return { state: states[claimed.kind], ...(claimed.kind === "answered" && { outcome: claimed.outcome }) };
    },

    async renewClaims({ claimIds, lease }) {
      if (claimIds.length > 0) await store.renew(claimIds, msOf(lease));
      return {};
    },

    async storeOutcome({ claimId, outcome }, context) {
      return { stored: await store.finish(tenantOf(context), claimId, outcome) };
    },

    async releaseClaim({ claimId }, context) {
      await store.release(tenantOf(context), claimId);
      return {};
    },
  };
}

/** @throws WeirError INVALID_REQUEST when the metadata names no tenant */
function tenantOf(context: HandlerContext): string {
  const entry = requestMetadata(context, metadataNames.principal);
  const tenant = entry === undefined ? "" : fromBinary(PrincipalSchema, Buffer.from(entry, "base64")).tenant;
  if (tenant !== "" && tenant !== "*") return tenant;
  throw new WeirError(ErrorReason.INVALID_REQUEST, {
    text: `The metadata entry ${metadataNames.principal} must name a tenant.`,
  });
}

function msOf(duration: Duration | undefined): number {
  return duration === undefined ? 0 : durationMs(duration);
}
