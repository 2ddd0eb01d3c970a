import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import type { PublicMethod } from "./public-methods.ts";

/** Largest body of a method that calls no model, in bytes: as much as gRPC takes by default. */
const plainBytesMax = 4_194_304;

/** Largest body of a method over HTTP, in bytes. @param bodyBytesMax of calls of models */
export function requestBytesMax({ access }: PublicMethod, bodyBytesMax: number): number {
  const callsModel = access !== "open" && access.permission === Permission.MODELS_CALL;
  return callsModel ? bodyBytesMax : Math.min(bodyBytesMax, plainBytesMax);
}
