import { createServer } from "node:http";
import { Pool } from "undici";

// The yardstick: node:http and undici, no logic; the answer's bytes are piped. Usage: bare-proxy.ts UPSTREAM_ORIGIN
const upstream = new Pool(process.argv[2] ?? "", {
  connections: 512,
  pipelining: 1,
  headersTimeout: 0,
  bodyTimeout: 0,
});
const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    upstream
      .request({
        method: "POST",
        path: request.url ?? "/",
        headers: { "content-type": "application/json" },
        body: Buffer.concat(parts),
      })
      .then((answer) => {
        const headers: Record<string, string | string[]> = {};
        for (const [name, value] of Object.entries(answer.headers)) {
          if (value !== undefined && name !== "connection" && name !== "keep-alive" && name !== "transfer-encoding")
            headers[name] = value;
        }
        response.writeHead(answer.statusCode, headers);
        answer.body.pipe(response);
        response.on("close", () => answer.body.destroy());
        answer.body.on("error", () => response.destroy());
      })
      .catch(() => response.writeHead(502).end());
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  console.log(`listening on http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`);
});
