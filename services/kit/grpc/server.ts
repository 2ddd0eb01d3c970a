import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { ServerReflection } from "@weir/gen/grpc/reflection/v1/reflection_pb";
import type { HostedService } from "../call.ts";
import { methodPath } from "../context.ts";
import { createLinkServer } from "../link/server.ts";
import { ServedStream } from "../link/served-stream.ts";
import { type LinkOptions, linkSettings, openPath } from "../link/settings.ts";
import { notServed, servedMethods, type ServingOptions, servingSettings } from "../serving.ts";
import { type Status, toStatus } from "../status.ts";
import { refusal, type ServerTlsOptions } from "./credentials.ts";
import type { Gate } from "./gate.ts";
import { createHealth } from "./health.ts";
import { dismiss } from "./dismiss.ts";
import { addStatus, answerFields, isGrpcRequest } from "./http-fields.ts";
import { PlainCall, type PlainHost } from "./plain-call.ts";
import { type Connection, createPort } from "./port.ts";
import { createReflection, earlierReflectionPath } from "./reflection.ts";
import { packingOf, unknownPacking } from "./unpack.ts";

export interface GrpcServerOptions extends ServingOptions {
  /** Name of this process, for the logs of its peers. */
  readonly name: string;
  readonly hosted: readonly HostedService[];
  /** Undefined: without TLS. */
  readonly tls?: ServerTlsOptions | undefined;
  /** `false`: there are none, only plain gRPC. */
  readonly link?: LinkOptions | false | undefined;
  /** Makes it a door for callers that are not of the mesh. Undefined: whoever connects may call. */
  readonly gate?: Gate | undefined;
}

/** One port: links, plain gRPC, health and reflection. */
export interface GrpcServer {
  /**
   * @param address `host:port`, where port 0 means any free one, or `unix:/path`
   * @returns the address with the port in it
   */
  listen(address: string): Promise<string>;
  /**
   * Takes no new connections, asks the peers to go elsewhere, and waits for the open calls. What is still open when the
   * time has passed is broken.
   */
  drain(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
  status(): { readonly links: number; readonly calls: number };
}

export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const settings = servingSettings(options);
  const health = createHealth(options.hosted.map(({ service }) => service.typeName));
  const hosted = [...options.hosted, health.hosted];
  const reflection = createReflection(hosted.map(({ service }) => service));
  const methods = servedMethods([...hosted, reflection], options);
  const links =
    options.link === false
      ? undefined
      : createLinkServer({
          methods,
          serving: settings,
          link: linkSettings(options.link ?? {}),
          name: options.name,
        });
  const host: PlainHost = { gate: options.gate, gated: new Set(), running: 0 };
  const byPath = new Map([...methods].map(([path, method]) => [`/${path}`, method]));
  const reflect = methods.get(methodPath(ServerReflection.method.serverReflectionInfo));
  if (reflect !== undefined) byPath.set(`/${earlierReflectionPath}`, reflect);

  function take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Connection): void {
    const { standing, address } = connection;
    const { ":path": path = "", ":method": verb } = headers;
    if (verb !== "POST") return turnAway(stream, { ":status": "405", allow: "POST" });
    if (!isGrpcRequest(headers)) return turnAway(stream, { ":status": "415" });
    if (links !== undefined && path === openPath) return links.open(new ServedStream(stream), standing);
    const method = byPath.get(path);
    if (method === undefined) return refuse(stream, toStatus(notServed(path.slice(1, 200))));
    const refused = refusal(standing, method.path);
    if (refused !== undefined) {
      return refuse(stream, { code: refused.code, message: refused.details, details: [] });
    }
    const packing = packingOf(headers["grpc-encoding"]);
    if (packing === "unknown") return refuse(stream, toStatus(unknownPacking()));
    new PlainCall(host, connection, method, stream).begin(headers, address, packing);
  }

  const { gate } = options;
  const port = createPort({
    tls: options.tls,
    gate,
    clock: settings.clock,
    onStream: take,
    onTick: (nowMs) => {
      for (const call of host.gated) call.look(nowMs);
    },
  });

  return {
    listen: (address) => port.listen(address),
    async drain(timeoutMs) {
      health.shutdown();
      links?.drain();
      await new Promise<void>((resolve) => {
        const cancel = settings.clock.after(timeoutMs, resolve);
        void port.leave().then(() => {
          cancel();
          resolve();
        });
      });
      links?.close();
      port.close();
    },
    async close() {
      health.shutdown();
      links?.close();
      port.close();
    },
    status() {
      const linked = links?.status();
      return { links: linked?.links ?? 0, calls: (linked?.calls ?? 0) + host.running };
    },
  };
}

/** Ends a call that nobody has begun to serve. */
function refuse(stream: ServerHttp2Stream, status: Status): void {
  const fields = answerFields();
  addStatus(fields, status);
  turnAway(stream, fields);
}

function turnAway(stream: ServerHttp2Stream, fields: Record<string, string>): void {
  stream.on("error", () => undefined);
  stream.respond(fields, { endStream: true });
  dismiss(stream);
}
