import { IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";

/** A store that is away. */
export const noIdempotency = createClient(IdempotencyService, createLocalDoor([]));
