import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";

const door = createLocalDoor([]);

/** Nobody who passes calls on, and nobody who knows whose resources they are. */
export const noPassthrough = {
  passthrough: createClient(PassthroughService, door),
  resources: createClient(ResourceService, door),
};
