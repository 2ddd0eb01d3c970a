import { afterEach, describe, expect, test } from "vitest";
import {
  event,
  eventHead,
  eventually,
  hello,
  openRaw,
  rawPost,
  startEdge,
  stopEdges,
  untilCancelled,
  wire,
} from "./testing/harness.ts";
import { isServing, sendRaw, statusesOf } from "./testing/raw-answers.ts";

afterEach(stopEdges);

const errorShape = { error: { message: expect.any(String), type: "invalid_request_error", param: null } };

function bodyOf(answer: string): unknown {
  return JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4));
}

describe("what is no HTTP is answered in JSON, with a request id, and the connection closes", () => {
  const chunked = "Transfer-Encoding: chunked\r\n";
  const post = "POST /v1/chat/completions HTTP/1.1\r\nHost: edge\r\n";
  test.each([
    ["garbage", "\u0000\u0001\u0002\r\n\r\n", 400],
    ["a TLS greeting", "\u0016\u0003\u0001\u0002\u0000\u0001\u0000", 400],
    ["HTTP/2's greeting", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
    [
      "Content-Length and Transfer-Encoding",
      `${post}Content-Length: 5\r\n${chunked}\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n`,
      400,
    ],
    ["Transfer-Encoding and Content-Length", `${post}${chunked}Content-Length: 5\r\n\r\n0\r\n\r\n`, 400],
    ["two lengths", `${post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`, 400],
    ["a length that is no number", `${post}Content-Length: +5\r\n\r\nhello`, 400],
    ["chunked twice", `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400],
    ["a space before the colon", `${post}Content-Length : 5\r\n\r\nhello`, 400],
    ["a folded header", `${post}X-A: a\r\n b\r\nContent-Length: 0\r\n\r\n`, 400],
    ["a bare line feed", "GET /health/live HTTP/1.1\nHost: edge\n\n", 400],
    ["a NUL in a header", `${post}X-A: a\u0000b\r\n\r\n`, 400],
    ["an unknown version", "GET / HTTP/3.7\r\nHost: edge\r\n\r\n", 400],
    ["a head of 17 KiB", `GET / HTTP/1.1\r\nHost: edge\r\nX-A: ${"a".repeat(17_000)}\r\n\r\n`, 431],
    ["a path of 17 KiB", `GET /${"a".repeat(17_000)} HTTP/1.1\r\nHost: edge\r\n\r\n`, 431],
    ["CONNECT", "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n", 405],
  ])("%s", async (_, text, status) => {
    const edge = await startEdge();
    const answer = await sendRaw(edge.port, text);
    expect(statusesOf(answer)).toEqual([status]);
    expect(answer).toMatch(/^HTTP\/1\.1 /);
    expect(answer).toMatch(/\r\nx-request-id: req_[0-9a-f]{32}\r\n/);
    expect(answer).toMatch(/\r\nconnection: close\r\n/i);
    expect(bodyOf(answer)).toMatchObject(errorShape);
    expect(edge.calls.length).toBe(0);
    expect(await isServing(edge)).toBe(true);
  });
});

describe("requests that are HTTP and not acceptable", () => {
  const close = "Connection: close\r\n";
  test.each([
    ["no Host", `GET /v1/models HTTP/1.1\r\n${close}\r\n`, 400],
    ["a target of another host", `GET http://evil/v1/models HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 400],
    ["a target of an own host, without a key", `GET http://edge/v1/models HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 401],
    ["an asterisk", `OPTIONS * HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 400],
    ["an unknown path", `GET /v1/nothing HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 404],
    ["a doubled slash", `GET //v1/models HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 404],
    ["a path that climbs", `GET /v1/../metrics HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 404],
    ["a wrong method", `DELETE /v1/models HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 405],
    ["an odd method", `PROPFIND /v1/models HTTP/1.1\r\nHost: edge\r\n${close}\r\n`, 405],
    [
      "an odd expectation, without a key",
      `POST /v1/chat/completions HTTP/1.1\r\nHost: edge\r\nExpect: x\r\n${close}\r\n`,
      401,
    ],
    [
      "an upgrade, without a key",
      `GET /v1/models HTTP/1.1\r\nHost: edge\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n\r\n`,
      401,
    ],
    [
      "a header named __proto__",
      `GET /v1/models HTTP/1.1\r\nHost: edge\r\n__proto__: x\r\nconstructor: y\r\n${close}\r\n`,
      401,
    ],
  ])("%s", async (_, text, status) => {
    const edge = await startEdge();
    const answer = await sendRaw(edge.port, text);
    expect(statusesOf(answer)).toEqual([status]);
    expect(answer).toMatch(/\r\nx-request-id: req_[0-9a-f]{32}\r\n/);
    expect(bodyOf(answer)).toMatchObject(errorShape);
    if (status === 405) expect(answer).toMatch(/\r\nallow: GET, HEAD, OPTIONS\r\n/);
  });
});

describe("bodies", () => {
  test.each([
    ["is empty", "", "The body is not valid JSON."],
    ["is cut off", '{"model":"small","messages":[', "The body is not valid JSON"],
    ["is no object", "[]", "The body is not a JSON object."],
    ["is null", "null", "The body is not a JSON object."],
    [
      "has two models",
      '{"model":"a","model":"b","messages":[{"role":"user","content":""}]}',
      "`model` stands more than once.",
    ],
    ["is two objects", `${JSON.stringify(hello)}{}`, "The body is not valid JSON"],
    ["nests deep", `{"model":"a","messages":${"[".repeat(100_000)}`, "The body nests deeper"],
    ["holds a NUL", '{"model":"a\u0000","messages":[]}', "The body is not valid JSON"],
  ])("one that %s is refused with a text that helps", async (_, body, text) => {
    const edge = await startEdge();
    const response = await edge.post(body);
    expect(response.status).toBe(400);
    const { error } = (await response.json()) as { error: { message: string; type: string } };
    expect(error.type).toBe("invalid_request_error");
    expect(error.message).toContain(text);
    expect(response.headers.get("x-ratelimit-remaining-requests")).toBe("9999");
    expect(edge.calls.length).toBe(0);
  });

  test.each([
    ["text/plain", {}],
    ["application/jsonx", {}],
    ["application/json", { "content-encoding": "gzip" }],
  ])("of %s %o are not read", async (type, headers) => {
    const edge = await startEdge();
    const response = await edge.post(hello, { headers: { "content-type": type, ...headers } });
    expect(response.status).toBe(415);
    expect(await response.json()).toMatchObject({ error: { code: "unsupported_media_type" } });
  });

  test("of application/json with parameters, and encoded as identity, are read", async () => {
    const edge = await startEdge();
    const headers = { "content-type": "Application/JSON; charset=utf-8", "content-encoding": "identity" };
    expect((await edge.post(hello, { headers })).status).toBe(200);
  });

  test("too large by their own word are refused before they come", async () => {
    const edge = await startEdge();
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, "").replace("Content-Length: 0", "Content-Length: 104857600"));
    const answer = await raw.whole();
    expect(statusesOf(answer)).toEqual([413]);
    expect(bodyOf(answer)).toMatchObject({ error: { code: "request_too_large" } });
  });

  test("too large are refused as they come, to a client that goes on sending", async () => {
    const edge = await startEdge({ settings: { bodyBytesMax: 1_000_000 } });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, "").replace("Content-Length: 0", "Transfer-Encoding: chunked"));
    const piece = `10000\r\n${"x".repeat(65_536)}\r\n`;
    for (let sent = 0; sent < 100_000_000 && raw.text() === "" && raw.ended() === undefined; sent += 65_536) {
      if (!raw.socket.write(piece)) {
        await new Promise<void>((resolve) => {
          raw.socket.once("drain", resolve);
          raw.socket.once("close", resolve);
        });
      }
    }
    const answer = await raw.until(/\r\n\r\n\{.*\}/);
    expect(statusesOf(answer)).toEqual([413]);
    expect(answer).toMatch(/\r\nconnection: close\r\n/);
    raw.socket.write("0\r\n\r\n");
    await raw.whole();
  });

  test("of all requests together are bounded", async () => {
    const edge = await startEdge({ settings: { bodiesBytesMax: 1_000 } });
    const response = await edge.post({ ...hello, padding: "x".repeat(2_000) });
    expect(response.status).toBe(503);
    expect((await edge.post(hello)).status).toBe(200);
  });

  test("count for more than their bytes when each comes by itself", async () => {
    const edge = await startEdge({ settings: { bodiesBytesMax: 1_000 } });
    const head = rawPost(edge.key, "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    const bytes = [...JSON.stringify(hello)].map((byte) => `1\r\n${byte}\r\n`);
    const raw = await openRaw(edge.port);
    raw.socket.write(`${head}${bytes.join("")}0\r\n\r\n`);
    expect(statusesOf(await raw.until(/\r\n\r\n\{.*\}/))).toEqual([503]);
    expect((await edge.post(hello)).status).toBe(200);
  });

  test("that stop coming end with 408", async () => {
    const edge = await startEdge({ settings: { bodyStallMs: 100 } });
    const answer = await sendRaw(edge.port, rawPost(edge.key, "{").replace("Content-Length: 1", "Content-Length: 9"));
    expect(statusesOf(answer)).toEqual([408]);
    expect(answer).toMatch(/\r\nconnection: close\r\n/);
    expect(bodyOf(answer)).toMatchObject({ error: { code: "request_timeout" } });
  });

  test("that come without a pause, but too slowly, end with 408", async () => {
    const edge = await startEdge({ settings: { bodyStallMs: 300, bodyBytesPerSecondMin: 1_000_000 } });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, "").replace("Content-Length: 0", "Content-Length: 100000"));
    const drip = setInterval(() => raw.socket.write(" "), 20);
    const answer = await raw.whole();
    clearInterval(drip);
    expect(statusesOf(answer)).toEqual([408]);
    expect(edge.calls.length).toBe(0);
  });

  test.each([
    ["of no known encoding", "Transfer-Encoding: xchunked", "hello"],
    ["in chunks without a size", "Transfer-Encoding: chunked", "zzz\r\nhello\r\n"],
    ["in chunks of a negative size", "Transfer-Encoding: chunked", "-1\r\nhello\r\n"],
    ["in chunks that end wrong", "Transfer-Encoding: chunked", "2\r\nhello\r\n"],
    ["in chunks of an endless extension", "Transfer-Encoding: chunked", `2;${"x".repeat(20_000)}`],
  ])("%s end with 400", async (_, header, body) => {
    const edge = await startEdge();
    const answer = await sendRaw(edge.port, rawPost(edge.key, "").replace("Content-Length: 0", header) + body);
    expect(statusesOf(answer)).toEqual([400]);
    expect(answer).toMatch(/\r\nconnection: close\r\n/);
    expect(bodyOf(answer)).toMatchObject(errorShape);
    expect(edge.calls.length).toBe(0);
  });

  test("that are asked for come after 100 Continue", async () => {
    const edge = await startEdge();
    const raw = await openRaw(edge.port);
    const [head, body] = rawPost(edge.key, JSON.stringify(hello), ["Expect: 100-continue"]).split("\r\n\r\n");
    raw.socket.write(`${head}\r\n\r\n`);
    await raw.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    raw.socket.write(body as string);
    await raw.until(/HTTP\/1\.1 200 OK/);
    raw.socket.destroy();
  });

  test("that are not wanted are not asked for", async () => {
    const edge = await startEdge();
    const answer = await sendRaw(
      edge.port,
      rawPost("wrong", "{}", ["Expect: 100-continue"]).replace("\r\n\r\n{}", "\r\n\r\n"),
    );
    expect(statusesOf(answer)).toEqual([401]);
    expect(answer).not.toContain("100 Continue");
  });

  test("of refused requests do not end a connection that can go on", async () => {
    const edge = await startEdge();
    const raw = await openRaw(edge.port);
    const body = JSON.stringify(hello);
    raw.socket.write(rawPost("wrong", body));
    await raw.until(/HTTP\/1\.1 401/);
    raw.socket.write(rawPost(edge.key, body));
    await raw.until(/HTTP\/1\.1 200/);
    raw.socket.destroy();
  });
});

describe("connections", () => {
  test("may send requests before the answers came, which come in order", async () => {
    const edge = await startEdge();
    const raw = await openRaw(edge.port);
    const chat = rawPost(edge.key, JSON.stringify(hello));
    const live = "GET /health/live HTTP/1.1\r\nHost: edge\r\n\r\n";
    raw.socket.write(chat + live + chat + live.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    const answer = await raw.whole();
    expect(statusesOf(answer)).toEqual([200, 200, 200, 200]);
    expect(answer.match(/chat\.completion|"status":"ok"/g)).toEqual([
      "chat.completion",
      '"status":"ok"',
      "chat.completion",
      '"status":"ok"',
    ]);
  });

  test("that send garbage behind a request under way are cut, and its call is cancelled", async () => {
    const edge = await startEdge({
      async *chat({ signal }) {
        yield wire({ head: eventHead, data: event("1") });
        await untilCancelled(signal);
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, JSON.stringify({ ...hello, stream: true })));
    await raw.until(/data: 1/);
    raw.socket.write("\u0000garbage\r\n\r\n");
    const answer = await raw.whole();
    expect(answer.match(/HTTP\/1\.1/g)?.length).toBe(1);
    await eventually(() => edge.calls[0]?.signal.aborted === true);
  });

  test("with too many requests at once are refused the rest", async () => {
    const edge = await startEdge({
      async *chat({ signal }) {
        await untilCancelled(signal);
      },
    });
    const raw = await openRaw(edge.port);
    raw.socket.write(rawPost(edge.key, JSON.stringify(hello)).repeat(150));
    await eventually(() => edge.calls.length === 100);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(edge.calls.length).toBe(100);
    raw.socket.destroy();
    await eventually(() => edge.calls.every((call) => call.signal.aborted));
  });

  test("beyond what one address may have open are refused, and the next is served when one has closed", async () => {
    const edge = await startEdge({ settings: { connectionsPerAddressMax: 3 } });
    const held = await Promise.all([openRaw(edge.port), openRaw(edge.port), openRaw(edge.port)]);
    let answer = "";
    // The connection of the first question after the start may still be open.
    await eventually(async () => {
      answer = await sendRaw(edge.port, rawPost(edge.key, JSON.stringify(hello)));
      return statusesOf(answer)[0] === 429;
    });
    expect(answer).toMatch(/\r\nretry-after: 1\r\n/);
    expect(bodyOf(answer)).toMatchObject({ error: { code: "rate_limit_exceeded" } });
    expect(edge.calls.length).toBe(0);
    for (const raw of held) raw.socket.destroy();
    await eventually(async () => {
      const raw = await openRaw(edge.port);
      raw.socket.write(rawPost(edge.key, JSON.stringify(hello), ["Connection: close"]));
      return statusesOf(await raw.whole())[0] === 200;
    });
  });

  test("that break in the middle of head or body leave nothing open", async () => {
    const edge = await startEdge();
    const whole = rawPost(edge.key, JSON.stringify(hello));
    for (let end = 1; end < whole.length; end += 7) {
      const raw = await openRaw(edge.port);
      raw.socket.end(whole.slice(0, end));
      raw.socket.resume();
      await eventually(() => raw.ended() !== undefined);
    }
    expect(edge.calls.length).toBe(0);
    const response = await edge.post(hello);
    expect(response.status).toBe(200);
  });
});

test("no secret and no prompt reaches log or answer", async () => {
  const canary = "canary5e5a";
  const edge = await startEdge({
    async *chat({ request }) {
      if (request.model === "defect") throw new Error(`driver says ${canary}`);
      yield wire({ head: eventHead, data: event("1") });
      throw new Error(`provider says ${canary}`);
    },
  });
  const prompt = { model: "small", messages: [{ role: "user", content: canary }], stream: true };
  const answers: string[] = [];
  const keep = async (response: Promise<Response>) => {
    answers.push(await response.then((answer) => answer.text()).catch((thrown: unknown) => String(thrown)));
  };
  await keep(edge.post(prompt));
  await keep(edge.post({ ...prompt, model: "defect" }));
  await keep(edge.post(prompt, { headers: { authorization: `Bearer ${canary}`, cookie: canary } }));
  await keep(edge.post(prompt, { headers: { authorization: `Bearer ${edge.key}${canary}` } }));
  await keep(edge.post(`{"model": "${canary}`));
  await keep(fetch(`${edge.url}/v1/${canary}?key=${canary}`));
  answers.push(
    await sendRaw(edge.port, `GET / HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${canary}\u0000\r\n\r\n`),
  );
  await eventually(() => edge.logs.filter((line) => line.includes('"status":')).length >= 7);
  const secret = edge.key.split("_")[2] as string;
  for (const text of [...edge.logs, ...answers]) {
    expect(text).not.toContain(canary);
    expect(text).not.toContain(secret);
  }
  expect(edge.logs.join("")).toContain('"reason":"INTERNAL"');
});
