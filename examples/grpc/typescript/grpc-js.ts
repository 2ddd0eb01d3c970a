// Calls a model over plain gRPC with grpc-js and the generated messages: node examples/grpc/typescript/grpc-js.ts
// WEIR_GRPC is the address of the gRPC port, WEIR_KEY the key, WEIR_MODEL the alias.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import {
  ChatService,
  type GenerateRequest,
  GenerateRequestSchema,
  type GenerateResponse,
  GenerateResponseSchema,
} from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Role } from "@weir/gen/weir/chat/v1/conversation_pb";

const { WEIR_GRPC = "127.0.0.1:8788", WEIR_KEY = "", WEIR_MODEL = "weir-demo" } = process.env;

// credentials.createSsl() where the port has a certificate.
const client = new Client(WEIR_GRPC, credentials.createInsecure());
const metadata = new Metadata();
metadata.set("authorization", `Bearer ${WEIR_KEY}`);

const replies = client.makeServerStreamRequest<GenerateRequest, GenerateResponse>(
  `/${ChatService.typeName}/${ChatService.method.generate.name}`,
  (request) => Buffer.from(toBinary(GenerateRequestSchema, request)),
  (bytes) => fromBinary(GenerateResponseSchema, bytes),
  create(GenerateRequestSchema, {
    model: WEIR_MODEL,
    messages: [{ role: Role.USER, parts: [{ content: { case: "text", value: { text: "Hello" } } }] }],
  }),
  metadata,
  { deadline: Date.now() + 60_000 },
);

for await (const { payload } of replies as AsyncIterable<GenerateResponse>) {
  if (payload.case !== "event") continue;
  const { kind } = payload.value;
  if (kind.case === "delta" && kind.value.content.case === "text") process.stdout.write(kind.value.content.value);
  if (kind.case === "end") console.log(`\n${kind.value.usage?.outputTokens ?? 0} tokens of output`);
}
client.close();
