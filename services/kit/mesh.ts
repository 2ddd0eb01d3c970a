import type { DescService } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { type Client, type Door, type HostedService, type HostOptions, hostService } from "./call.ts";
import { createClient } from "./client.ts";
import type { TlsOptions } from "./grpc/credentials.ts";
import { createGrpcServer, type GrpcServer } from "./grpc/server.ts";
import { createPeers, type InstanceStatus, type PeerEvent, type Peers } from "./link/peers.ts";
import { type LinkOptions, linkSettings } from "./link/settings.ts";
import { createLocalDoor } from "./local.ts";
import { servingSettings, type ServingOptions } from "./serving.ts";

/** How the services of this process meet each other and those of other processes. */
export interface MeshOptions extends ServingOptions {
  /** Name of this process, for people who read logs: `router-1`. */
  readonly name: string;
  /**
   * Where others reach what is hosted here, over links and plain gRPC: `host:port`, port 0 for any, or `unix:/path`.
   * Undefined: nowhere.
   */
  readonly listen?: string | undefined;
  /** Mutual TLS, for what listens here and for all links from here. Undefined: none. */
  readonly tls?: TlsOptions | undefined;
  /** Addresses of the instances of each service that is not hosted here: `host:port`, DNS names, `unix:/path`. */
  readonly peers?: Readonly<Record<string, readonly string[]>> | undefined;
  readonly link?: LinkOptions | undefined;
  /** How long calls wait when no instance is ready, counted from the moment when the last one was. Default 2 s. */
  readonly connectWaitMs?: number | undefined;
  readonly random?: (() => number) | undefined;
  /** Told when links come and go, for logs. */
  readonly onPeer?: ((event: PeerEvent) => void) | undefined;
}

/** See createMesh. */
export interface Mesh {
  /** Serves a service under a name. One name may have several services. Only before `start`. */
  host<S extends DescService>(
    name: string,
    service: S,
    implementation: Partial<ServiceImpl<S>>,
    options?: HostOptions,
  ): void;
  /** A client of what is hosted under a name, here or elsewhere. May be made before `start`, and called after it. */
  client<S extends DescService>(service: S, name: string): Client<S>;
  /** Listens and connects. Does not wait until peers are there. @throws Error when it cannot listen */
  start(): Promise<void>;
  /** Takes no new calls from others, waits for the open ones, and breaks those that outlast the time. */
  drain(timeoutMs: number): Promise<void>;
  /** Breaks what is open. After it no client works. */
  close(): Promise<void>;
  status(): MeshStatus;
}

export interface MeshStatus {
  /** The address with the true port; undefined when nothing listens. */
  readonly address: string | undefined;
  /** Links and calls from other processes. */
  readonly served: { readonly links: number; readonly calls: number };
  /** Instances of each service that is reached by links. */
  readonly peers: Readonly<Record<string, readonly InstanceStatus[]>>;
}

/** Decides, for each service, between a direct call and a link; services cannot tell which they got. */
export function createMesh(options: MeshOptions): Mesh {
  const hosted = new Map<string, HostedService[]>();
  const doors = new Map<string, Door>();
  const peers = new Map<string, Peers>();
  const wanted = new Set<string>();
  const settings = servingSettings(options);
  let server: GrpcServer | undefined;
  let address: string | undefined;

  function doorTo(name: string): Door {
    const door = doors.get(name);
    if (door === undefined) throw new Error(`the mesh was not started before ${name} was called`);
    return door;
  }

  function connect(name: string): void {
    const addresses = options.peers?.[name];
    if (addresses === undefined || addresses.length === 0) {
      throw new Error(`${name} is neither hosted here nor among the peers`);
    }
    const door = createPeers({
      peerName: name,
      addresses,
      tls: options.tls,
      name: options.name,
      clock: settings.clock,
      random: options.random ?? Math.random,
      messageBytesMax: settings.messageBytesMax,
      link: linkSettings(options.link ?? {}),
      connectWaitMs: options.connectWaitMs ?? 2000,
      onEvent: options.onPeer ?? (() => undefined),
    });
    peers.set(name, door);
    doors.set(name, door);
    door.start();
  }

  return {
    host(name, service, implementation, hostOptions) {
      const services = hosted.get(name) ?? [];
      hosted.set(name, services);
      services.push(hostService(service, implementation, hostOptions));
    },
    client(service, name) {
      wanted.add(name);
      return createClient(service, {
        unary: (method, request, callOptions) => doorTo(name).unary(method, request, callOptions),
        stream: (method, request, callOptions) => doorTo(name).stream(method, request, callOptions),
        duplex: (method, requests, callOptions) => doorTo(name).duplex(method, requests, callOptions),
      });
    },
    async start() {
      for (const [name, services] of hosted) doors.set(name, createLocalDoor(services, options));
      if (options.listen !== undefined) {
        server = createGrpcServer({ ...options, hosted: [...hosted.values()].flat() });
        address = await server.listen(options.listen);
      }
      for (const name of wanted) if (!doors.has(name)) connect(name);
    },
    drain: async (timeoutMs) => server?.drain(timeoutMs),
    async close() {
      for (const peer of peers.values()) peer.close();
      await server?.close();
    },
    status: () => ({
      address,
      served: server?.status() ?? { links: 0, calls: 0 },
      peers: Object.fromEntries([...peers].map(([name, peer]) => [name, peer.status()])),
    }),
  };
}
