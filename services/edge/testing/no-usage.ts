import { UsageService } from "@weir/gen/weir/metering/v1/usage_service_pb";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";

/** A ledger that is away. */
export const noUsage = createClient(UsageService, createLocalDoor([]));
