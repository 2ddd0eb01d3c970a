import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { createMesh } from "../mesh.ts";
import { chunk, whenAborted } from "./ways.ts";

// A process of the mesh to be killed: `node serve.ts NAME ADDRESS`. It says its address to its parent.
const [, , name = "", address = ""] = process.argv;
const mesh = createMesh({ name, listen: address });
mesh.host("router", ChatService, {
  async *generate(_request, { signal }) {
    yield chunk(name);
    await whenAborted(signal);
  },
});
mesh.host("router", RouteService, {
  async getRoute(request, { signal }) {
    if (request.name === "routes/hang") await whenAborted(signal);
    return { route: { name: request.name, alias: name } };
  },
});
await mesh.start();
process.send?.(mesh.status().address);
process.on("disconnect", () => process.exit());
