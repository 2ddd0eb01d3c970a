import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Frame } from "@weir/dialect/codec";
import { writeFrames } from "@weir/dialect/framing/writer";

/** What the server answers with. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
  /** Whether the connection is reset after the body, as after an error in a stream. */
  readonly reset?: boolean;
}

/** A request as it came. */
export interface Received {
  readonly path: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

/**
 * Serves the answers on a port of 127.0.0.1 in turn, the last one again and again, while `use` runs.
 * @returns the requests that came
 */
export async function serving(
  answers: readonly Answer[],
  use: (baseUrl: string) => Promise<void>,
): Promise<Received[]> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const answer = answers[Math.min(received.length, answers.length - 1)];
      received.push({ path: request.url ?? "", headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(answer?.status ?? 200, { "content-type": "application/json", ...answer?.headers });
      if (answer?.reset === true) response.write(answer.body, () => setImmediate(() => response.destroy()));
      else response.end(answer?.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  return received;
}

/** A stream of frames, and perhaps bytes after them. */
export function streamOf(frames: readonly Frame[], after = ""): Answer {
  const headers = { "content-type": "text/event-stream; charset=utf-8" };
  return { headers, body: `${String(writeFrames("sse", frames))}${after}`, reset: after !== "" };
}
