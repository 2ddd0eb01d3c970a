import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { createMesh } from "../mesh.ts";

// A process with one open call, to be killed: `node call.ts ADDRESS`. It tells its parent when the call is answered.
const [, , address = ""] = process.argv;
const mesh = createMesh({ name: "caller", peers: { router: [address] } });
const chat = mesh.client(ChatService, "router");
await mesh.start();
process.on("disconnect", () => process.exit());
for await (const _ of chat.generate({ model: "m" })) process.send?.("open");
