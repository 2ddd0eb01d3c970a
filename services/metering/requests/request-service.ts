import type { ServiceImpl } from "@connectrpc/connect";
import type { RequestService } from "@weir/gen/weir/metering/v1/request_service_pb";
import type { RequestStore } from "./request-store.ts";

/** Serves the records that edges tell. */
export function createRequestService(store: RequestStore): ServiceImpl<typeof RequestService> {
  return {
    async recordRequests({ records }) {
      await store.add(records);
      return {};
    },
  };
}
