import type { DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { CallOptions, Client, Door, HostedService } from "./call.ts";
import { createClient } from "./client.ts";
import { createLocalDoor } from "./local.ts";
import { notServed, type ServingOptions } from "./serving.ts";

/** How the services of this process meet each other and those of other processes. */
export interface MeshOptions extends ServingOptions {
  /** Name of this process, for people who read logs: `router-1`. */
  readonly name: string;
}

/** See createMesh. */
export interface Mesh {
  /** Serves a service under a name. A name may have several services. Only before `start`. */
  host<S extends DescService>(name: string, service: S, implementation: Partial<ServiceImpl<S>>): void;
  /** A client of what is hosted under a name, here or elsewhere. May be made before `start`, not called. */
  client<S extends DescService>(service: S, name: string): Client<S>;
  start(): Promise<void>;
  drain(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/** Decides, for each service, between a direct call and a link; services cannot tell which they got. */
export function createMesh(options: MeshOptions): Mesh {
  const hosted = new Map<string, HostedService[]>();
  const doors = new Map<string, Door>();

  const doorTo = (name: string): Door => {
    const found = doors.get(name);
    if (found !== undefined) return found;
    const services = hosted.get(name);
    if (services === undefined) throw notServed(name);
    const door = createLocalDoor(services, options);
    doors.set(name, door);
    return door;
  };

  return {
    host(name, service, implementation) {
      const services = hosted.get(name) ?? [];
      hosted.set(name, services);
      services.push({ service, implementation });
    },
    client(service, name) {
      const door: Door = {
        unary: async (method, request, callOptions: CallOptions) => doorTo(name).unary(method, request, callOptions),
        stream: (method, request, callOptions: CallOptions) => doorTo(name).stream(method, request, callOptions),
      };
      return createClient(service, door);
    },
    async start() {
      for (const name of hosted.keys()) doorTo(name);
    },
    async drain() {},
    async close() {},
  };
}
