import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { expect, test, vi } from "vitest";
import { ask, chat, errorOf, sdk } from "./client.ts";
import type { Weir } from "./weir.ts";

/** The public door: what is no chat request, and what is no good request at all. */
export function doorCases(weir: () => Weir): void {
  const get = (path: string, headers: Record<string, string> = {}, key: string | null = weir().key) =>
    ask(weir(), undefined, { method: "GET", path, headers, key });

  test.each<[string, string, number, string | null]>([
    ["GET", "/v1/nothing", 404, "not_found"],
    ["POST", "/", 404, "not_found"],
    ["GET", "/v1/chat/completions", 405, "method_not_allowed"],
    ["DELETE", "/v1/models", 405, "method_not_allowed"],
    ["PUT", "/v1/chat/completions", 405, "method_not_allowed"],
    ["GET", "/v1/%ff%00", 404, "not_found"],
    ["GET", "//v1//models", 404, "not_found"],
  ])("%s %s: %i in OpenAI's shape", async (method, path, status, code) => {
    const answer = await ask(weir(), method === "PUT" ? {} : undefined, { method, path });
    expect(answer.status).toBe(status);
    expect(errorOf(answer).code).toBe(code);
    expect(answer.requestId).not.toBe("");
    if (status === 405) expect(answer.headers.get("allow")).toMatch(/POST|GET/);
  });

  const deep = `{"model":"chat","messages":[{"role":"user","content":"x"}],"deep":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  test.each<[string, string | Uint8Array, Record<string, string>, number]>([
    ["no body", "", {}, 400],
    ["half an object", '{"model":"chat"', {}, 400],
    ["a list", "[]", {}, 400],
    ["text", '"chat"', {}, 400],
    ["not JSON", "model=chat", {}, 400],
    ["a byte that is not UTF-8", Buffer.from('{"model":"ch\xffat","messages":[]}', "latin1"), {}, 400],
    ["two models", '{"model":"chat","model":"private","messages":[]}', {}, 400],
    ["a model that is a number", '{"model":7,"messages":[]}', {}, 400],
    ["a stream that is a text", '{"model":"chat","stream":"yes","messages":[]}', {}, 400],
    ["more text after the object", '{"model":"chat","messages":[]} x', {}, 400],
    ["depth without end", deep, {}, 400],
    ["another content type", "model=chat", { "content-type": "application/x-www-form-urlencoded" }, 415],
    ["an unknown encoding", "{}", { "content-encoding": "zstd-of-the-future" }, 415],
    ["too large", `{"model":"chat","x":"${"y".repeat(1_100_000)}"}`, {}, 413],
  ])("a bad body, %s: refused at once and in OpenAI's shape", async (_name, body, headers, status) => {
    const started = performance.now();
    const answer = await ask(weir(), body, { headers });
    expect(answer.status).toBe(status);
    expect(errorOf(answer).type).toBe("invalid_request_error");
    expect(answer.requestId).not.toBe("");
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("a body that unpacks to more than the limit does not get through", async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000, " "));
    const answer = await ask(weir(), bomb, { headers: { "content-encoding": "gzip" } });
    expect([413, 415]).toContain(answer.status);
    errorOf(answer);
  });

  test("a body sent in chunks without a length is held to the same limit", async () => {
    let sent = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 65_536;
        if (sent > 100_000_000) controller.close();
        else controller.enqueue(new Uint8Array(65_536).fill(32));
      },
    });
    const outcome = await fetch(`${weir().url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${weir().key}`, "content-type": "application/json" },
      body,
      duplex: "half",
    }).then(
      (response) => response.status,
      () => "closed",
    );
    expect([413, "closed"]).toContain(outcome);
    expect(sent).toBeLessThan(50_000_000);
  });

  /** Sends bytes over a plain socket; resolves with the answer when the other side closes. */
  function send(text: string, closeMs = 5000): Promise<{ answer: string; closed: boolean }> {
    const { hostname, port } = new URL(weir().url);
    return new Promise((resolve) => {
      let answer = "";
      const socket = connect(Number(port), hostname);
      const settle = (closed: boolean) => {
        clearTimeout(timer);
        socket.destroy();
        resolve({ answer, closed });
      };
      const timer = setTimeout(() => settle(false), closeMs);
      socket.on("data", (data) => {
        answer += data.toString();
      });
      socket.on("end", () => settle(true));
      socket.on("error", () => settle(true));
      socket.write(text);
    });
  }

  const head = "POST /v1/chat/completions HTTP/1.1\r\nHost: weir\r\n";
  test.each([
    ["no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["an unknown method", "BREW /v1/models HTTP/1.1\r\nHost: weir\r\n\r\n"],
    ["two lengths", `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`],
    ["a length and chunks", `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ["a length that is none", `${head}Content-Length: 2x\r\n\r\n{}`],
    ["a chunk size that is none", `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`],
    ["a header without end", `${head}X-Long: ${"y".repeat(200_000)}`],
    ["headers without number", head + Array.from({ length: 5000 }, (_, i) => `X-${i}: y\r\n`).join("")],
    ["a line feed in a header", `${head}X-A: b\nc: d\0\r\n\r\n`],
  ])("a request that is not one, %s: the connection is closed", async (_name, text) => {
    const { answer, closed } = await send(text);
    expect(closed, answer).toBe(true);
    if (answer !== "") expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
  });

  test("connections that are dropped in the middle of a request leave nothing behind", async () => {
    const { hostname, port } = new URL(weir().url);
    const body = JSON.stringify(chat());
    const full = `${head}Authorization: Bearer ${weir().key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    await Promise.all(
      Array.from(
        { length: 60 },
        (_, index) =>
          new Promise<void>((resolve) => {
            const socket = connect(Number(port), hostname, () => {
              socket.write(full.slice(0, Math.ceil((full.length * (index + 1)) / 60)), () => {
                if (index % 2 === 0) socket.resetAndDestroy();
                else socket.destroy();
                resolve();
              });
            });
            socket.on("error", () => resolve());
          }),
      ),
    );
    await vi.waitFor(() => expect(weir().simulator.counts().open).toBe(0));
    expect((await ask(weir(), chat())).status).toBe(200);
  });

  test("headers of the mesh from outside change nothing", async () => {
    const answer = await ask(weir(), chat(), {
      headers: { "weir-principal-bin": "AAAA", "weir-request-id": "forged", "x-forwarded-for": "6.6.6.6" },
    });
    expect(answer.status).toBe(200);
    expect(answer.requestId).not.toBe("forged");
  });

  test("every answer has a request id of its own", async () => {
    const answers = await Promise.all([
      ask(weir(), chat()),
      ask(weir(), chat({}, { stream: true })),
      ask(weir(), "{"),
      ask(weir(), chat(), { key: "no" }),
      get("/v1/models"),
      get("/nothing"),
      get("/health"),
      get("/health/live"),
      ask(weir(), undefined, { method: "OPTIONS", headers: { origin: "https://app.example" } }),
    ]);
    const ids = answers.map((answer) => answer.requestId);
    expect(ids.every((id) => id.length > 0)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("CORS: the origins of the configuration, and no others", async () => {
    const preflight = (origin: string) =>
      ask(weir(), undefined, {
        key: null,
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": "POST",
          "access-control-request-headers": "authorization,content-type,x-stainless-os",
        },
      });
    const good = await preflight("https://app.example");
    expect(good.status).toBeLessThan(300);
    expect(good.headers.get("access-control-allow-origin")).toBe("https://app.example");
    expect(good.headers.get("access-control-allow-methods")).toContain("POST");
    expect(good.headers.get("access-control-allow-headers")?.toLowerCase()).toMatch(/\*|x-stainless-os/);
    expect((await preflight("https://evil.example")).headers.get("access-control-allow-origin")).toBeNull();
    const answer = await ask(weir(), chat(), { headers: { origin: "https://app.example" } });
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://app.example");
    expect(answer.headers.get("access-control-expose-headers")?.toLowerCase()).toContain("x-request-id");
  });

  test("health: live, ready, and all of it", async () => {
    for (const path of ["/health/live", "/health/ready"]) expect((await get(path, {}, null)).status).toBe(200);
    for (const path of ["/health", "/v1/health"]) {
      const answer = await get(path, {}, null);
      expect(answer.status).toBe(200);
      expect(answer.json).toMatchObject({ status: "ok", version: expect.stringMatching(/^\d/) });
      expect(answer.json).toHaveProperty("uptime_seconds");
      expect(answer.json).toHaveProperty("dependencies");
      expect(answer.json).toHaveProperty(
        "providers",
        expect.arrayContaining([expect.objectContaining({ name: "sim" })]),
      );
    }
  });

  test("metrics, under the names that dashboards know", async () => {
    await ask(weir(), chat());
    for (const path of ["/metrics", "/v1/metrics"]) {
      const { status, text } = await get(path, {}, null);
      expect(status).toBe(200);
      for (const name of ["http_requests_total", "http_request_duration_seconds_bucket"]) expect(text).toContain(name);
    }
  });

  test("the SDK's own headers are harmless", async () => {
    const client = sdk(weir()).withOptions({
      organization: "org-1",
      project: "project-1",
      defaultHeaders: { "OpenAI-Beta": "x=v2", "X-Client-Request-Id": "mine", "Idempotency-Key": "k-1" },
    });
    const messages = [{ role: "user" as const, content: "hello" }];
    const { data, request_id } = await client.chat.completions.create({ model: "chat", messages }).withResponse();
    expect(data.choices).toHaveLength(1);
    expect(request_id).toBeTruthy();
  });
}
