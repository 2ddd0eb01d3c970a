import { create, type MessageShape } from "@bufbuild/protobuf";
import { createClient as createConnectClient, createRouterTransport, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import {
  ChatService,
  GenerateRequestSchema,
  type GenerateResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { createClient } from "@weir/kit/client";
import { createGrpcDoor } from "@weir/kit/grpc/client";
import { createMesh } from "@weir/kit/mesh";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import type { AddressInfo, Server } from "node:net";

/** Ways from one service to another. */
export const hops = [
  "local door",
  "link",
  "plain gRPC (grpc-js)",
  "Connect in memory",
  "Connect over HTTP/1.1",
  "gRPC over HTTP/2 (connect-node)",
] as const;
export type Hop = (typeof hops)[number];

/** Whether both ends sit in one process. */
export function inMemory(hop: Hop): boolean {
  return hop === "local door" || hop === "Connect in memory";
}

const reply = Buffer.from(
  `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"${"word ".repeat(60)}"}}]}`,
);
const piece = Buffer.from(`data: {"id":"x","choices":[{"index":0,"delta":{"content":"${"word ".repeat(20)}"}}]}\n\n`);
const gapMs = 50;

/** Answers a chat with one message, or a stream with one message each 50 ms, as many as `maxOutputTokens` says. */
const service: Pick<ServiceImpl<typeof ChatService>, "generate"> = {
  async *generate(request) {
    if (request.wire?.stream !== true) {
      yield {
        payload: {
          case: "wire",
          value: { data: reply, head: { status: 200, contentType: "application/json" }, tail: {} },
        },
      };
      return;
    }
    for (let left = request.maxOutputTokens ?? 0; left > 0; left -= 1) {
      await new Promise((resolve) => setTimeout(resolve, gapMs));
      yield { payload: { case: "wire", value: { data: piece } } };
    }
  },
};

type Generate = (
  request: MessageShape<typeof GenerateRequestSchema>,
) => AsyncIterable<MessageShape<typeof GenerateResponseSchema>>;

async function serve(hop: Hop): Promise<string> {
  if (hop === "link" || hop === "plain gRPC (grpc-js)") {
    const mesh = createMesh({ name: "served", listen: "127.0.0.1:0" });
    mesh.host("chat", ChatService, service);
    await mesh.start();
    return mesh.status().address ?? "";
  }
  const handler = connectNodeAdapter({ routes: (router) => void router.service(ChatService, service) });
  const server: Server = hop === "Connect over HTTP/1.1" ? createHttpServer(handler) : createHttp2Server(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function caller(hop: Hop, address: string): Promise<Generate> {
  switch (hop) {
    case "local door":
    case "link": {
      const mesh = createMesh({ name: "caller", peers: { chat: [address] } });
      if (hop === "local door") mesh.host("chat", ChatService, service);
      const client = mesh.client(ChatService, "chat");
      await mesh.start();
      return (request) => client.generate(request);
    }
    case "plain gRPC (grpc-js)": {
      const client = createClient(ChatService, createGrpcDoor({ address }));
      return (request) => client.generate(request);
    }
    case "Connect in memory": {
      const client = createConnectClient(
        ChatService,
        createRouterTransport((router) => void router.service(ChatService, service)),
      );
      return (request) => client.generate(request);
    }
    case "Connect over HTTP/1.1": {
      const client = createConnectClient(
        ChatService,
        createConnectTransport({ baseUrl: `http://${address}`, httpVersion: "1.1", useBinaryFormat: true }),
      );
      return (request) => client.generate(request);
    }
    case "gRPC over HTTP/2 (connect-node)": {
      const client = createConnectClient(ChatService, createGrpcTransport({ baseUrl: `http://${address}` }));
      return (request) => client.generate(request);
    }
  }
}

const body = Buffer.from(`{"model":"bench","messages":[{"role":"user","content":"${"word ".repeat(50)}"}]}`);

function request(stream: boolean, messages: number) {
  return create(GenerateRequestSchema, {
    model: "bench",
    maxOutputTokens: messages,
    wire: { dialect: Dialect.OPENAI_CHAT, body, model: { start: 9, end: 16 }, stream },
  });
}

/** Calls at a fixed rate, each started on time. */
async function calls(generate: Generate, perSecond: number, seconds: number): Promise<void> {
  const open = new Set<Promise<void>>();
  const start = performance.now();
  for (let sent = 0; sent < perSecond * seconds; ) {
    const due = Math.min(perSecond * seconds, ((performance.now() - start) / 1000) * perSecond);
    for (; sent < due; sent += 1) {
      const call = (async () => {
        for await (const _ of generate(request(false, 1)));
      })().finally(() => open.delete(call));
      open.add(call);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(open);
}

async function streams(generate: Generate, count: number, messages: number): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      await new Promise((resolve) => setTimeout(resolve, (index * gapMs) / count));
      let got = 0;
      for await (const _ of generate(request(true, messages))) got += 1;
      if (got !== messages) throw new Error(`${got} of ${messages} messages came`);
    }),
  );
}

if (process.argv[1] === import.meta.filename) {
  const [role, hop, address = ""] = process.argv.slice(2) as ["server" | "client", Hop, string?];
  if (role === "server") {
    console.log(`serving on ${await serve(hop)}`);
  } else {
    const generate = await caller(hop, address);
    console.log("ready");
    // Each line of standard input is one job; the answer is a line when it is done.
    process.stdin.setEncoding("utf8");
    for await (const line of process.stdin) {
      const [kind, amount, length] = String(line).trim().split(" ");
      if (kind === "calls") await calls(generate, Number(amount), Number(length));
      else await streams(generate, Number(amount), Number(length));
      console.log("done");
    }
    process.exit(0);
  }
}
