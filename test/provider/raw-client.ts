import { connect } from "node:net";

/** What a plain socket saw of one exchange. */
export interface RawAnswer {
  readonly bytes: Buffer;
  /** How the connection ended: in order, by a reset, or not at all until `quietMs` had passed without a byte. */
  readonly end: "fin" | "reset" | "quiet";
}

/** Sends one chat request over a plain socket and reads until the connection ends or falls silent. */
export function exchangeRaw(
  url: string,
  body: unknown,
  options: { headers?: Record<string, string>; quietMs?: number } = {},
): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const text = JSON.stringify(body);
  const headers = {
    host: hostname,
    connection: "close",
    "content-length": String(Buffer.byteLength(text)),
    ...options.headers,
  };
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(Number(port), hostname);
    const settle = (end: RawAnswer["end"]) => {
      socket.destroy();
      resolve({ bytes: Buffer.concat(chunks), end });
    };
    socket.setTimeout(options.quietMs ?? 5000, () => settle("quiet"));
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("end", () => settle("fin"));
    socket.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" ? settle("reset") : reject(error),
    );
    socket.write(`POST /v1/chat/completions HTTP/1.1\r\n${head.join("")}\r\n${text}`);
  });
}

/** Undoes chunked transfer coding, as far as it goes. `whole` says whether the last chunk was there. */
export function dechunk(answer: Buffer): { body: Buffer; whole: boolean } {
  let at = answer.indexOf("\r\n\r\n") + 4;
  const parts: Buffer[] = [];
  for (;;) {
    const lineEnd = answer.indexOf("\r\n", at);
    if (lineEnd < 0) return { body: Buffer.concat(parts), whole: false };
    const size = Number.parseInt(answer.toString("latin1", at, lineEnd), 16);
    if (size === 0) return { body: Buffer.concat(parts), whole: true };
    parts.push(answer.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}
