import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Frame } from "@weir/dialect/codec";

/** What the server answers to every request. */
export interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Server {
  readonly baseURL: string;
  /** The JSON bodies that came, in order. */
  readonly bodies: Record<string, unknown>[];
  close(): void;
}

/** A server on 127.0.0.1 that answers every request alike. */
export async function serve({ status = 200, headers = {}, body }: Reply): Promise<Server> {
  const bodies: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      bodies.push(JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>);
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    baseURL: `http://127.0.0.1:${port}/v1`,
    bodies,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A stream of server-sent events. */
export function sse(frames: readonly Frame[], end = ""): Reply {
  const events = frames.map(({ type, data }) => `event: ${type}\ndata: ${data}\n\n`);
  return { headers: { "content-type": "text/event-stream" }, body: events.join("") + end };
}
