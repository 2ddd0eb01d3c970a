import { type ClientHttp2Session, connect as connectHttp2, type Settings } from "node:http2";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { hostService, requestMetadata } from "../../call.ts";
import { decode, encodeToBytes } from "../../codec.ts";
import { methodPath } from "../../context.ts";
import { WeirError } from "../../weir-error.ts";
import { createGrpcServer, type GrpcServer, type GrpcServerOptions } from "../server.ts";

// Plain gRPC as it stands on the wire, frame by frame.

const cleanups: (() => unknown)[] = [];

/** Closes every server and connection, the newest first. For `afterEach`. */
export async function cleanUp(): Promise<void> {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
}

export const getRoute = `/${methodPath(RouteService.method.getRoute)}`;

interface Asked {
  readonly header: string | undefined;
  readonly timeoutMs: number | undefined;
}

export async function serve(options: Partial<GrpcServerOptions> = {}): Promise<{
  readonly server: GrpcServer;
  readonly address: string;
  readonly asked: Asked[];
}> {
  const asked: Asked[] = [];
  const routes = hostService(RouteService, {
    getRoute({ name }, context) {
      asked.push({ header: requestMetadata(context, "x-facts-bin"), timeoutMs: context.timeoutMs() });
      context.responseHeader.set("x-head-bin", Buffer.from([1, 2, 3, 4]).toString("base64"));
      context.responseTrailer.set("x-tail", "t");
      if (name === "routes/none") throw new WeirError(ErrorReason.MODEL_NOT_FOUND, { text: "50 % of nöthing\n" });
      return { route: { name } };
    },
  });
  const server = createGrpcServer({ name: "server", hosted: [routes], messageBytesMax: 1_000_000, ...options });
  cleanups.push(() => server.close());
  return { server, address: await server.listen("127.0.0.1:0"), asked };
}

export async function connect(address: string, settings: Settings = {}): Promise<ClientHttp2Session> {
  const session = connectHttp2(`http://${address}`, { settings });
  cleanups.push(() => session.destroy());
  session.on("error", () => undefined);
  await new Promise((resolve) => session.once("remoteSettings", resolve));
  return session;
}

/** Of HTTP/2, by name. */
export type Fields = Readonly<Record<string, string | undefined>>;

interface Answer {
  readonly headers: Fields;
  readonly trailers: Fields;
  readonly body: Buffer;
  readonly code: number;
}

export function head(path: string, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers", ...more };
}

export function frame(message: Uint8Array, flag = 0): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

export const routeRequest = (name: string) => encodeToBytes(RouteService.method.getRoute.input, { name });

export function ask(session: ClientHttp2Session, headers: Record<string, string>, body?: Buffer): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request(headers);
    const parts: Buffer[] = [];
    let headed: Fields = {};
    let trailed: Fields = {};
    stream.on("response", (fields) => {
      headed = fields as Fields;
    });
    stream.on("trailers", (fields) => {
      trailed = fields as Fields;
    });
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("error", () => undefined);
    stream.on("close", () =>
      resolve({ headers: headed, trailers: trailed, body: Buffer.concat(parts), code: stream.rstCode }),
    );
    if (body !== undefined) stream.end(body);
  });
}

export const routeOf = ({ body }: Answer): string | undefined =>
  decode(RouteService.method.getRoute.output, body.subarray(5)).route?.name;
