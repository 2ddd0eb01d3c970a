import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { onTestFinished } from "vitest";

export interface OneAnswer {
  /** Default 200. */
  readonly status?: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface OneAnswerServer {
  readonly url: string;
  /** Bodies of requests so far, the oldest first. */
  readonly received: readonly string[];
}

/** Starts a server that gives one answer to everything, for the test that runs. */
export async function serveOneAnswer({ status = 200, headers, body }: OneAnswer): Promise<OneAnswerServer> {
  const received: string[] = [];
  const server = createServer((request, response) => {
    void text(request).then((sent) => {
      received.push(sent);
      response.writeHead(status, headers).end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, received };
}
