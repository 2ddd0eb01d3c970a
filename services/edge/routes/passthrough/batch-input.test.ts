import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BatchInputReader } from "./batch-input.ts";

const request = (body: object) => JSON.stringify({ custom_id: "a", method: "POST", url: "/v1/chat/completions", body });

/** What a reader says of a file that comes in pieces of the given sizes, and what it holds at most and at the end. */
function read(file: string | Buffer, sizes: readonly number[] = [], room = Infinity) {
  let held = 0;
  let most = 0;
  const reader = new BatchInputReader({
    take(bytes) {
      if (held + bytes > room) return false;
      held += bytes;
      most = Math.max(most, held);
      return true;
    },
    give: (bytes) => (held -= bytes),
  });
  const all = Buffer.from(file);
  let at = 0;
  for (const size of sizes) {
    reader.push(all.subarray(at, at + size));
    at += size;
  }
  reader.push(all.subarray(at));
  reader.end();
  const failure = reader.failure;
  return {
    models: Object.fromEntries(Array.from(reader.models, ([model, { line }]) => [model, line])),
    bounds: Array.from(reader.models.values(), ({ bound }) => bound),
    endpoint: reader.endpoint,
    files: Object.fromEntries(reader.files),
    failure: failure === undefined ? undefined : `${failure.reason} ${failure.message}`,
    held,
    most,
  };
}

describe("what lines name is known with the first line that names it", () => {
  const file = [
    request({ model: "m", messages: [{ content: 'ä\u2028b \\ "' }] }),
    "",
    request({ model: "n", input: [{ type: "input_file", file_id: "file-1" }] }),
    request({
      model: "m",
      input: [
        { type: "input_file", file_id: "file-1" },
        { type: "input_image", file_id: "file-2" },
      ],
    }),
  ];
  const expected = {
    models: { m: 1, n: 3 },
    files: { "file-1": 3, "file-2": 4 },
    failure: undefined,
    held: 0,
  };

  test.each(["\n", "\r\n"])("with lines that end in %j, the last one or not", (end) => {
    expect(read(file.join(end))).toMatchObject(expected);
    expect(read(file.join(end) + end)).toMatchObject(expected);
  });

  test("wherever it is cut", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 20 }), (sizes) => {
        expect(read(file.join("\n"), sizes)).toMatchObject(expected);
      }),
      { numRuns: 300 },
    );
  });

  test("however names are escaped", () => {
    const line = '{"custom_id":"a","bo\\u0064y":{"\\u006dodel":"m","f":{"file\\u005fid":"file-1"}}}';
    expect(read(line)).toMatchObject({ models: { m: 1 }, files: { "file-1": 1 } });
  });
});

const good = request({ model: "m" });
const refused = (line: number, text: string) =>
  `${ErrorReason.INVALID_REQUEST} Line ${line} of the batch's input file ${text}.`;

test.each<[string, string | Buffer, string]>([
  ["nothing", "", "has no request in it"],
  ["no JSON", `${good}\nhello`, "is not one JSON object in UTF-8"],
  ["two objects", `${good}\n{}{}`, "is not one JSON object in UTF-8"],
  ["a list", `${good}\n[]`, "is not one JSON object in UTF-8"],
  [
    "a line that other readers see as three",
    `${good}\n{"x":\r${good}\r,"body":{"model":"m"}}`,
    "is not one JSON object in UTF-8",
  ],
  [
    "no UTF-8",
    Buffer.concat([Buffer.from(`${good}\n{"body":{"model":"`), Buffer.from([0xff]), Buffer.from('"}}')]),
    "is not one JSON object in UTF-8",
  ],
  [
    "an object that is 200 deep",
    `${good}\n${'{"a":'.repeat(200)}1${"}".repeat(200)}`,
    "is not one JSON object in UTF-8",
  ],
  [
    "a request that goes on with a response at the provider",
    `${good}\n${request({ model: "m", previous_response_id: "resp_1" })}`,
    "has `body.previous_response_id`: send what came before in the request itself",
  ],
  [
    "a request in a conversation at the provider",
    `${good}\n${request({ model: "m", previous_response_id: null, conversation: { id: "conv_1" } })}`,
    "has `body.conversation`: send what came before in the request itself",
  ],
  ["no body", `${good}\n{"custom_id":"a"}`, "has no `body` that is an object"],
  ["a body that is text", `${good}\n{"body":"x"}`, "has no `body` that is an object"],
  ["two bodies", `${good}\n{"body":{"model":"m"},"b\\u006fdy":{"model":"other"}}`, "has `body` more than once"],
  ["two models", `${good}\n{"body":{"model":"m","\\u006dodel":"other"}}`, "has `model` more than once"],
  ["no model", `${good}\n{"body":{"messages":[]}}`, "names no model: `body.model` must be the name of one"],
  [
    "a model of another type",
    `${good}\n{"body":{"model":["m"]}}`,
    "names no model: `body.model` must be the name of one",
  ],
  [
    "a limit that stands twice",
    `${good}\n{"body":{"model":"m","max_tokens":1,"max_tokens":1000000}}`,
    "has `max_tokens` more than once",
  ],
  [
    "a number of answers that is none",
    `${good}\n${request({ model: "m", n: "9" })}`,
    "has an `n`, `best_of` or `prompt` that asks for no number of answers",
  ],
  [
    "a request that goes elsewhere",
    `${good}\n${JSON.stringify({ url: "/v1/embeddings", body: { model: "m" } })}`,
    "has another `url` than the lines before it: a batch has one",
  ],
  [
    "a file that is named twice",
    `${good}\n{"body":{"model":"m","file_id":"a","file_id":"b"}}`,
    "names what a provider keeps, and has a member that stands more than once",
  ],
])("%s is no input of a batch; the line is told, and nothing that stands in it", (_name, file, text) => {
  const line = file === "" ? 1 : 2;
  expect(read(file)).toMatchObject({ failure: refused(line, text), held: 0 });
});

test("101 models are more than one batch may use", () => {
  const lines = Array.from({ length: 101 }, (_, at) => request({ model: `m${at}` }));
  expect(read(lines.slice(0, 100).join("\n")).failure).toBeUndefined();
  expect(read(lines.join("\n")).failure).toBe(refused(101, "names one model more than the 100 that one batch may use"));
});

test("a line of more than 10 MiB is refused when so much of it has come, and nothing of it is held", () => {
  const long = Buffer.concat([Buffer.from(`${good}\n`), Buffer.alloc(11 * 1024 * 1024, "x")]);
  const pieces = Array.from({ length: 11 * 16 }, () => 65_536);
  const told = read(long, pieces);
  expect(told.failure).toBe(refused(2, "is longer than 10 MiB; send less in one request"));
  expect(told.held).toBe(0);
  expect(told.most).toBeLessThanOrEqual(10 * 1024 * 1024);
});

test("where memory for a line is short, the upload is refused for now, and what it held is given back", () => {
  const told = read(request({ model: "m".repeat(100) }), [50, 60], 60);
  expect(told).toMatchObject({
    failure: expect.stringMatching(new RegExp(`^${ErrorReason.OVERLOADED} `)) as string,
    held: 0,
  });
});

test("a line that comes byte by byte takes what its pieces do, not only their bytes", () => {
  const told = read(good, Array<number>(good.length).fill(1));
  expect(told).toMatchObject({ failure: undefined, held: 0 });
  expect(told.most).toBeGreaterThan(100 * good.length);
});

test("lines that come whole are not held", () => {
  expect(read(`${good}\n${good}\n`).most).toBe(0);
});
