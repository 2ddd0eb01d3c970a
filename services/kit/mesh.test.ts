import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { expect, test } from "vitest";
import { all, chunk } from "./conformance/ways.ts";
import { createMesh } from "./mesh.ts";

test("what is hosted here is called directly, what is not by a link, and a handler may call either", async () => {
  const far = createMesh({ name: "far", listen: "127.0.0.1:0" });
  const seen: string[] = [];
  far.host("router", RouteService, {
    getRoute({ name }, { protocolName }) {
      seen.push(protocolName);
      return { route: { name } };
    },
  });
  await far.start();

  const near = createMesh({ name: "near", peers: { router: [far.status().address ?? ""] } });
  const routes = near.client(RouteService, "router");
  const chat = near.client(ChatService, "edge");
  near.host("edge", ChatService, {
    async *generate({ model }, { protocolName, signal, timeoutMs }) {
      seen.push(protocolName);
      const { route } = await routes.getRoute({ name: `routes/${model}` }, { signal, timeoutMs: timeoutMs() });
      yield chunk(route?.name ?? "");
    },
  });
  await near.start();
  expect(await all(chat.generate({ model: "m" }, { timeoutMs: 5000 }))).toEqual(["routes/m"]);
  expect(seen).toEqual(["local", "link"]);
  expect(near.status()).toMatchObject({
    address: undefined,
    served: { links: 0, calls: 0 },
    peers: { router: [{ state: "ready", openCalls: 0, failures: 0 }] },
  });
  expect(far.status().served).toEqual({ links: 1, calls: 0 });
  await near.close();
  await far.close();
});

test("a client that is used before the start says so", async () => {
  const mesh = createMesh({ name: "one" });
  mesh.host("router", RouteService, {});
  const routes = mesh.client(RouteService, "router");
  expect(() => routes.getRoute({ name: "routes/a" })).toThrow("was not started");
});

test.each(["router", "router:99999", ":80", "a:b:80"])("the address %s stops the start", async (address) => {
  const mesh = createMesh({ name: "one", peers: { router: [address] } });
  mesh.client(RouteService, "router");
  await expect(mesh.start()).rejects.toThrow("is no address");
});

test("a port that is taken stops the start", async () => {
  const first = createMesh({ name: "first", listen: "127.0.0.1:0" });
  await first.start();
  const second = createMesh({ name: "second", listen: first.status().address });
  await expect(second.start()).rejects.toThrow("EADDRINUSE");
  await second.close();
  await first.close();
});
