import { PassthroughService } from "@weir/gen/weir/passthrough/v1/passthrough_service_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { createClient } from "@weir/kit/client";
import { systemClock } from "@weir/kit/clock";
import { createLocalDoor } from "@weir/kit/local";
import { createOwnNames } from "../files/own-names.ts";

const door = createLocalDoor([]);

const resources = createClient(ResourceService, door);
const routes = createClient(RouteService, door);

/** Nobody who passes calls on, and nobody who knows whose resources they are. */
export const noPassthrough = {
  passthrough: createClient(PassthroughService, door),
  resources,
  ownNames: createOwnNames({ resources, routes, providers: () => ({}), clock: systemClock }),
};
