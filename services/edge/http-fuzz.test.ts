import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { eventually, type Harness, hello, openRaw, rawPost, startEdge, stopEdges } from "./testing/harness.ts";

afterEach(stopEdges);

/** Each is a connection of its own, so that a hundred thousand would take many minutes. */
const runs = Math.min(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 300), 20_000);

/** Pieces of which attacks on parsers are made. */
const pieces = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  " ",
  "\t",
  ":",
  ";",
  ",",
  "Content-Length: 5\r\n",
  "Content-Length: 0\r\n",
  "Content-Length: -1\r\n",
  "Content-Length: 99999999999999999999\r\n",
  "Content-Length : 4\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: xchunked\r\n",
  "Transfer-Encoding:\tchunked\r\n",
  "Transfer_Encoding: chunked\r\n",
  "transfer-encoding: identity, chunked\r\n",
  "Host: evil\r\n",
  "__proto__: x\r\n",
  "weir-principal-bin: AAAA\r\n",
  "weir_principal_bin: AAAA\r\n",
  "Connection: keep-alive, Authorization\r\n",
  "Expect: 100-continue\r\n",
  "Upgrade: websocket\r\n",
  "0\r\n\r\n",
  "5\r\nhello\r\n",
  "ffffffffffffffff\r\n",
  "GET http://evil/v1/models HTTP/1.1\r\n",
  "POST /v1/chat/completions HTTP/1.0\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "\u00ff\u00fe",
];

/** Puts pieces, in place of some bytes or between them, into requests that would be good. */
const mutations = fc.array(
  fc.record({ at: fc.nat(2_000), drop: fc.nat(8), piece: fc.oneof(fc.constantFrom(...pieces), fc.string()) }),
  { maxLength: 6 },
);

function mutate(text: string, changes: readonly { at: number; drop: number; piece: string }[]): string {
  let result = text;
  for (const { at, drop, piece } of changes) {
    const place = at % (result.length + 1);
    result = result.slice(0, place) + piece + result.slice(place + drop);
  }
  return result;
}

/** The answers in what came: status and length of each; throws when it is no sequence of answers. */
function answersOf(text: string): number[] {
  const statuses: number[] = [];
  let rest = text;
  while (rest !== "") {
    const head = /^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n/.exec(rest);
    if (head === null) throw new Error(`no answer: ${JSON.stringify(rest.slice(0, 80))}`);
    const [whole, status = "", headers = ""] = head;
    const length = Number(/^content-length: (\d+)\r$/im.exec(headers)?.[1] ?? 0);
    if (status !== "100") statuses.push(Number(status));
    rest = rest.slice(whole.length + length);
  }
  return statuses;
}

test("whatever bytes come, what goes back is a sequence of answers, and no call is made without an answer of its own", async () => {
  const edge: Harness = await startEdge();
  const good = rawPost(edge.key, JSON.stringify(hello));
  await fc.assert(
    fc.asyncProperty(mutations, fc.integer({ min: 1, max: 3 }), async (changes, count) => {
      const callsBefore = edge.calls.length;
      const raw = await openRaw(edge.port);
      raw.socket.end(Buffer.from(mutate(good.repeat(count), changes), "latin1"));
      const text = await raw.whole();
      // A connection that a broken request took down with it may lack the answers before; it never has one too many.
      const statuses = raw.ended() === "reset" ? [] : answersOf(text);
      for (const status of statuses) expect(status).toBeGreaterThanOrEqual(200);
      const served = statuses.filter((status) => status === 200).length;
      expect(served).toBeLessThanOrEqual(edge.calls.length - callsBefore);
    }),
    { numRuns: runs },
  );
  expect((await edge.post(hello)).status).toBe(200);
  await eventually(() => edge.logs.every((line) => !line.includes('"level":"error"')));
}, 600_000);

test("requests that come in one stream, cut anywhere, get their answers in order", async () => {
  const edge = await startEdge();
  const paths = ["/health/live", "/v1/models", "/v1/nothing", "/v1/models/%ff", "/health/live?x=%00"];
  const expected: Readonly<Record<string, number>> = {
    "/health/live": 200,
    "/v1/models": 200,
    "/v1/nothing": 404,
    "/v1/models/%ff": 404,
    "/health/live?x=%00": 200,
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...paths), { minLength: 1, maxLength: 8 }),
      fc.array(fc.nat(400), { maxLength: 6 }),
      async (chosen, cuts) => {
        const text = chosen
          .map((path, index) => {
            const close = index === chosen.length - 1 ? "Connection: close\r\n" : "";
            return `GET ${path} HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer ${edge.key}\r\n${close}\r\n`;
          })
          .join("");
        const raw = await openRaw(edge.port);
        let from = 0;
        for (const cut of [...cuts.map((at) => at % text.length).toSorted((a, b) => a - b), text.length]) {
          raw.socket.write(text.slice(from, cut));
          from = cut;
          await new Promise((resolve) => setImmediate(resolve));
        }
        expect(answersOf(await raw.whole())).toEqual(chosen.map((path) => expected[path]));
      },
    ),
    { numRuns: Math.min(runs, 5_000) },
  );
}, 600_000);
