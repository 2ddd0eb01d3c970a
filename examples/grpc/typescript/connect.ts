// Calls a model over Connect, on the port of the REST API: node examples/grpc/typescript/connect.ts
// WEIR_URL is the base URL, WEIR_KEY the key, WEIR_MODEL the alias.
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";

const { WEIR_URL = "http://127.0.0.1:8787", WEIR_KEY = "", WEIR_MODEL = "weir-demo" } = process.env;

// createGrpcWebTransport of the same package speaks gRPC-Web to the same port; in browsers, @connectrpc/connect-web does both.
const chat = createClient(ChatService, createConnectTransport({ baseUrl: WEIR_URL, httpVersion: "1.1" }));

const replies = chat.generate(
  {
    model: WEIR_MODEL,
    messages: [{ role: Role.USER, parts: [{ content: { case: "text", value: { text: "Hello" } } }] }],
  },
  { headers: { authorization: `Bearer ${WEIR_KEY}` }, timeoutMs: 60_000 },
);

for await (const { payload } of replies) {
  if (payload.case !== "event") continue;
  const { kind } = payload.value;
  if (kind.case === "delta" && kind.value.content.case === "text") process.stdout.write(kind.value.content.value);
  if (kind.case === "end") console.log(`\n${kind.value.usage?.outputTokens ?? 0} tokens of output`);
}
