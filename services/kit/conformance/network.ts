import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import type { Client } from "../call.ts";
import { createMesh, type Mesh, type MeshOptions } from "../mesh.ts";
import { chunk, whenAborted } from "./ways.ts";

/** What a test has to end. */
export const cleanups: (() => unknown)[] = [];

/** Ends it, the last first. */
export async function cleanUp(): Promise<void> {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
}

/** A process that serves; its name comes back in its answers. */
export async function spawn(name: string, address = "127.0.0.1:0"): Promise<{ child: ChildProcess; address: string }> {
  const child = fork(join(import.meta.dirname, "serve.ts"), [name, address], { execArgv: [] });
  cleanups.push(() => child.kill("SIGKILL"));
  const bound = await new Promise<string>((resolve, reject) => {
    child.once("message", resolve as (message: unknown) => void);
    child.once("exit", () => reject(new Error("the server did not start")));
  });
  return { child, address: bound };
}

/** A mesh that hosts nothing, and its clients. */
interface Caller {
  readonly mesh: Mesh;
  readonly chat: Client<typeof ChatService>;
  readonly routes: Client<typeof RouteService>;
}

/** @param addresses of the instances of what it calls */
export async function call(addresses: readonly string[], options: Partial<MeshOptions> = {}): Promise<Caller> {
  const mesh = createMesh({ name: "caller", peers: { router: addresses }, ...options });
  cleanups.push(() => mesh.close());
  const chat = mesh.client(ChatService, "router");
  const routes = mesh.client(RouteService, "router");
  await mesh.start();
  return { mesh, chat, routes };
}

/** A mesh that hosts a chat, which waits in the middle of its stream, and routes that tell its name. */
export interface Server {
  readonly mesh: Mesh;
  readonly address: string;
  /** How often the finally of a handler ran. */
  readonly closed: () => number;
  /** Lets the streams end. */
  readonly finish: () => void;
}

export async function serve(name: string, options: Partial<MeshOptions> = {}): Promise<Server> {
  const mesh = createMesh({ name, listen: "127.0.0.1:0", ...options });
  cleanups.push(() => mesh.close());
  let closed = 0;
  let finish = (): void => undefined;
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  mesh.host("router", ChatService, {
    async *generate({ wire }, { signal }) {
      try {
        yield chunk(name);
        if (wire === undefined) await Promise.race([finished, whenAborted(signal)]);
        yield chunk("end");
      } finally {
        closed += 1;
      }
    },
  });
  mesh.host("router", RouteService, { getRoute: (request) => ({ route: { name: request.name, alias: name } }) });
  await mesh.start();
  return { mesh, address: mesh.status().address ?? "", closed: () => closed, finish };
}
