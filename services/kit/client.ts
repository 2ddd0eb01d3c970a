import type {
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
} from "@bufbuild/protobuf";
import type { CallOptions, Client, Door, Metadata } from "./call.ts";

const noOptions: CallOptions = {};

/** A service's calls through one door. Methods that take a stream and give one message are left out. */
export function createClient<S extends DescService>(service: S, door: Door): Client<S> {
  const client: Record<string, unknown> = {};
  for (const method of service.methods) {
    if (method.methodKind === "unary") {
      const unary = method as DescMethodUnary;
      client[method.localName] = (request: Record<string, unknown>, options?: CallOptions) =>
        door.unary(unary, request, options ?? noOptions);
    } else if (method.methodKind === "server_streaming") {
      const streaming = method as DescMethodServerStreaming;
      client[method.localName] = (request: Record<string, unknown>, options?: CallOptions) =>
        door.stream(streaming, request, options ?? noOptions);
    } else if (method.methodKind === "bidi_streaming") {
      const duplex = method as DescMethodBiDiStreaming;
      client[method.localName] = (requests: AsyncIterable<Record<string, unknown>>, options?: CallOptions) =>
        door.duplex(duplex, requests, options ?? noOptions);
    }
  }
  return client as Client<S>;
}

/** The same client, each of whose calls bears metadata unless its own says otherwise. */
export function bearing<C extends object>(client: C, metadata: Metadata): C {
  type Method = (request: unknown, options?: CallOptions) => unknown;
  const methods = Object.entries(client as Record<string, Method>).map(([name, method]) => [
    name,
    (request: unknown, options?: CallOptions) =>
      method(request, { ...options, metadata: { ...metadata, ...options?.metadata } }),
  ]);
  return Object.fromEntries(methods) as C;
}
