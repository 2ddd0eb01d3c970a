import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { onTestFinished } from "vitest";

/** What a server answers to every request. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
  /** Whether the connection is reset after the body, as after an error in a stream. */
  readonly reset?: boolean;
}

export interface Server {
  readonly baseURL: string;
  /** Bodies that came, as text, in order. */
  readonly bodies: readonly string[];
}

/** A server on 127.0.0.1 that lives as long as the test and answers every request alike. */
export async function serve({ status = 200, headers = {}, body, reset = false }: Answer): Promise<Server> {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    void text(request).then((received) => {
      bodies.push(received);
      response.writeHead(status, { "content-type": "application/json", ...headers });
      if (!reset) response.end(body);
      else response.write(body, () => setImmediate(() => request.socket.destroy()));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, bodies };
}
