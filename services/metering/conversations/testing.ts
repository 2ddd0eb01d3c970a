import { create, toBinary } from "@bufbuild/protobuf";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ConversationService } from "@weir/gen/weir/conversation/v1/conversation_service_pb";
import { callMetadata, type Client } from "@weir/kit/call";
import { createMesh } from "@weir/kit/mesh";
import type { Database } from "../database.ts";
import { createConversations } from "./conversations.ts";
import { createResponseStore } from "./response-store.ts";

/** A client of the service on a database, as a process that serves both has it. */
export async function conversationsOn(database: Database): Promise<Client<typeof ConversationService>> {
  const mesh = createMesh({ name: "test" });
  mesh.host("metering", ConversationService, createConversations(createResponseStore(database)));
  const client = mesh.client(ConversationService, "metering");
  await mesh.start();
  return client;
}

/** Options of a call by a tenant. */
export function as(tenant: string) {
  const principal = toBinary(PrincipalSchema, create(PrincipalSchema, { tenant, key: "abcdefghijklmnop" }));
  return { metadata: callMetadata(Buffer.from(principal).toString("base64"), "req_1", undefined) };
}
