import { once } from "node:events";
import { createServer as createHttp2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import {
  BedrockRuntimeClient,
  BedrockRuntimeServiceException,
  ConverseCommand,
  type ConverseCommandInput,
  ConverseStreamCommand,
  type ConverseStreamOutput,
} from "@aws-sdk/client-bedrock-runtime";
import { create } from "@bufbuild/protobuf";
import { bedrockConverse } from "@weir/dialect/bedrock-converse/codec";
import { readConversePath } from "@weir/dialect/bedrock-converse/path";
import type { AnswerOptions } from "@weir/dialect/codec";
import {
  choiceEnd,
  citationEvent,
  endEvent,
  imageEvent,
  reasoningEvent,
  startEvent,
  textEvent,
  toolCallEvent,
} from "@weir/dialect/events";
import { writeFrames } from "@weir/dialect/framing/writer";
import { parseExact, writeJson } from "@weir/dialect/json";
import { type GenerateEvent, StopReason } from "@weir/gen/weir/chat/v1/event_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";
import { errorTable, type Reason } from "@weir/kit/error-table";
import { WeirError } from "@weir/kit/weir-error";
import { signPost } from "@weir/pool/auth/sigv4";
import { expect, onTestFinished, test } from "vitest";

// AWS's own client, as it comes: HTTP/2, its signatures, its reader of event streams.

interface Reply {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

interface Received {
  readonly path: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

const keys = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
const model = "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-sonnet-4-6-v1:0";

/** A client of a server that gives one answer to everything, and what the server got. */
async function connect({ status = 200, headers = {}, body }: Reply) {
  const received: Received[] = [];
  const server = createHttp2Server((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      received.push({ path: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() });
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = new BedrockRuntimeClient({
    endpoint: `http://127.0.0.1:${port}`,
    region: "us-east-1",
    credentials: keys,
    maxAttempts: 1,
  });
  onTestFinished(() => {
    client.destroy();
    server.close();
  });
  return { client, received };
}

const request: ConverseCommandInput = {
  modelId: model,
  system: [{ text: "Be brief." }, { cachePoint: { type: "default" } }],
  messages: [
    {
      role: "user",
      content: [
        { text: "What is this?" },
        { image: { format: "png", source: { bytes: new Uint8Array([1, 2, 250]) } } },
        { document: { format: "pdf", name: "report (1)", source: { s3Location: { uri: "s3://bucket/report.pdf" } } } },
        { cachePoint: { type: "default", ttl: "1h" } },
      ],
    },
    {
      role: "assistant",
      content: [
        { reasoningContent: { reasoningText: { text: "Hm.", signature: "c2lnbmF0dXJl" } } },
        { reasoningContent: { redactedContent: new Uint8Array([7, 255]) } },
        { toolUse: { toolUseId: "tooluse_1", name: "look", input: { at: ["a", 1.5, null, true] } } },
      ],
    },
    {
      role: "user",
      content: [
        { toolResult: { toolUseId: "tooluse_1", content: [{ text: "nothing" }], status: "error" } },
        { video: { format: "mp4", source: { bytes: new Uint8Array([9]) } } },
      ],
    },
  ],
  inferenceConfig: { maxTokens: 2000, stopSequences: ["###"] },
  toolConfig: {
    tools: [
      { toolSpec: { name: "look", description: "Looks", inputSchema: { json: { type: "object" } }, strict: true } },
      { cachePoint: { type: "default" } },
      { systemTool: { name: "nova_grounding" } },
    ],
    toolChoice: { auto: {} },
  },
  additionalModelRequestFields: {
    thinking: { type: "enabled", budget_tokens: 1024 },
    anthropic_beta: ["x"],
  },
  requestMetadata: { team: "a" },
  performanceConfig: { latency: "optimized" },
  serviceTier: { type: "flex" },
  outputConfig: {
    textFormat: { type: "json_schema", structure: { jsonSchema: { schema: '{"type":"object"}', name: "shape" } } },
  },
  additionalModelResponseFieldPaths: ["/stop_sequence"],
};

const start = startEvent({ id: "", model: "", serviceTier: "flex" });
const usage = create(UsageSchema, {
  inputTokens: 30,
  cachedInputTokens: 8,
  cacheWriteTokens: 12,
  cacheWriteLongTokens: 5,
  outputTokens: 6,
});
const source = {
  $typeName: "weir.chat.v1.Citation" as const,
  start: 0,
  end: 2,
  title: "T",
  url: "https://example.com",
  quote: "q",
};
const picture = {
  $typeName: "weir.chat.v1.Media" as const,
  source: { case: "data" as const, value: new Uint8Array([1, 2, 3]) },
  mediaType: "image/webp",
  filename: "",
  detail: "",
};

const reply: readonly GenerateEvent[] = [
  start,
  reasoningEvent(0, 0, { text: "Hm" }),
  reasoningEvent(0, 0, { text: "." }),
  reasoningEvent(0, 0, { signature: Buffer.from("c2ln") }),
  reasoningEvent(0, 1, { sealed: new Uint8Array([7, 255]) }),
  textEvent(0, 2, 'Grüße, "'),
  textEvent(0, 2, '𝒜"\n'),
  textEvent(0, 3, "Ab"),
  citationEvent(0, 3, source),
  toolCallEvent(0, 4, { id: "tooluse_1", name: "look" }),
  toolCallEvent(0, 4, { arguments: '{"at": ' }),
  toolCallEvent(0, 4, { arguments: "[1]}" }),
  toolCallEvent(0, 5, { id: "tooluse_2", name: "now" }),
  imageEvent(0, 6, picture),
  endEvent([choiceEnd(0, StopReason.STOP_SEQUENCE, "stop", "###")], usage, { metrics: { latencyMs: 7 } }),
];

const options: AnswerOptions = {
  id: "x",
  createTimeMs: 0,
  model: "m",
  includeUsage: true,
  request: { additionalModelResponseFieldPaths: ["/stop_sequence"] },
};

const counts = {
  inputTokens: 10,
  outputTokens: 6,
  totalTokens: 36,
  cacheReadInputTokens: 8,
  cacheWriteInputTokens: 12,
  cacheDetails: [
    { ttl: "1h", inputTokens: 5 },
    { ttl: "5m", inputTokens: 7 },
  ],
};

test("a request of the client is read whole, and written again as the client wrote it", async () => {
  const { client, received } = await connect({ body: bedrockConverse.writeAnswer(reply, options) });
  await client.send(new ConverseCommand(request));
  const [{ path, body } = { path: "", body: "" }] = received;
  expect(readConversePath(path)).toEqual({ model, stream: false });
  const read = bedrockConverse.readRequest(parseExact(body) ?? {});
  const writing = bedrockConverse.writeRequest(read, { model, stream: false, maxOutputTokensDefault: 4_096 });
  expect(writing.warnings).toEqual([]);
  expect(JSON.parse(writeJson(writing.body))).toEqual(JSON.parse(body));
});

test("the client reads an answer as it was meant", async () => {
  const { client } = await connect({ body: bedrockConverse.writeAnswer(reply, options) });
  const { $metadata, ...answer } = await client.send(new ConverseCommand(request));
  expect($metadata.httpStatusCode).toBe(200);
  expect(answer).toEqual({
    output: {
      message: {
        role: "assistant",
        content: [
          { reasoningContent: { reasoningText: { text: "Hm.", signature: "c2ln" } } },
          { reasoningContent: { redactedContent: new Uint8Array([7, 255]) } },
          { text: 'Grüße, "𝒜"\n' },
          {
            citationsContent: {
              content: [{ text: "Ab" }],
              citations: [
                { title: "T", sourceContent: [{ text: "q" }], location: { web: { url: "https://example.com" } } },
              ],
            },
          },
          { toolUse: { toolUseId: "tooluse_1", name: "look", input: { at: [1] } } },
          { toolUse: { toolUseId: "tooluse_2", name: "now", input: {} } },
          { image: { format: "webp", source: { bytes: new Uint8Array([1, 2, 3]) } } },
        ],
      },
    },
    stopReason: "stop_sequence",
    additionalModelResponseFields: { stop_sequence: "###" },
    usage: counts,
    metrics: { latencyMs: 7 },
    serviceTier: { type: "flex" },
  });
});

function streamed(events: readonly GenerateEvent[]): Buffer {
  const writer = bedrockConverse.createFrameWriter(options);
  return Buffer.from(
    writeFrames(
      "aws-event-stream",
      events.flatMap((event) => [...writer.write(event)]),
    ),
  );
}

const eventStream = { "content-type": "application/vnd.amazon.eventstream" };

async function collect(client: BedrockRuntimeClient, into: ConverseStreamOutput[]): Promise<void> {
  const { stream } = await client.send(new ConverseStreamCommand(request));
  for await (const event of stream ?? []) into.push(event);
}

test("the client reads a stream as it was meant", async () => {
  const { client, received } = await connect({ headers: eventStream, body: streamed(reply) });
  const events: ConverseStreamOutput[] = [];
  await collect(client, events);
  expect(readConversePath(received[0]?.path ?? "")).toEqual({ model, stream: true });
  expect(events).toEqual([
    { messageStart: { role: "assistant" } },
    { contentBlockDelta: { contentBlockIndex: 0, delta: { reasoningContent: { text: "Hm" } } } },
    { contentBlockDelta: { contentBlockIndex: 0, delta: { reasoningContent: { text: "." } } } },
    { contentBlockDelta: { contentBlockIndex: 0, delta: { reasoningContent: { signature: "c2ln" } } } },
    { contentBlockStop: { contentBlockIndex: 0 } },
    {
      contentBlockDelta: {
        contentBlockIndex: 1,
        delta: { reasoningContent: { redactedContent: new Uint8Array([7, 255]) } },
      },
    },
    { contentBlockStop: { contentBlockIndex: 1 } },
    { contentBlockDelta: { contentBlockIndex: 2, delta: { text: 'Grüße, "' } } },
    { contentBlockDelta: { contentBlockIndex: 2, delta: { text: '𝒜"\n' } } },
    { contentBlockStop: { contentBlockIndex: 2 } },
    { contentBlockDelta: { contentBlockIndex: 3, delta: { text: "Ab" } } },
    {
      contentBlockDelta: {
        contentBlockIndex: 3,
        delta: {
          citation: { title: "T", sourceContent: [{ text: "q" }], location: { web: { url: "https://example.com" } } },
        },
      },
    },
    { contentBlockStop: { contentBlockIndex: 3 } },
    { contentBlockStart: { contentBlockIndex: 4, start: { toolUse: { toolUseId: "tooluse_1", name: "look" } } } },
    { contentBlockDelta: { contentBlockIndex: 4, delta: { toolUse: { input: '{"at": ' } } } },
    { contentBlockDelta: { contentBlockIndex: 4, delta: { toolUse: { input: "[1]}" } } } },
    { contentBlockStop: { contentBlockIndex: 4 } },
    { contentBlockStart: { contentBlockIndex: 5, start: { toolUse: { toolUseId: "tooluse_2", name: "now" } } } },
    { contentBlockDelta: { contentBlockIndex: 5, delta: { toolUse: { input: "{}" } } } },
    { contentBlockStop: { contentBlockIndex: 5 } },
    { contentBlockStart: { contentBlockIndex: 6, start: { image: { format: "webp" } } } },
    {
      contentBlockDelta: { contentBlockIndex: 6, delta: { image: { source: { bytes: new Uint8Array([1, 2, 3]) } } } },
    },
    { contentBlockStop: { contentBlockIndex: 6 } },
    { messageStop: { stopReason: "stop_sequence", additionalModelResponseFields: { stop_sequence: "###" } } },
    { metadata: { usage: counts, metrics: { latencyMs: 7 }, serviceTier: { type: "flex" } } },
  ]);
});

const reasons = Object.keys(errorTable).map((key) => Number(key) as Reason);

test.each(reasons)(
  "the client raises reason %i as an exception with its type, status and request id",
  async (reason) => {
    const { status, headers, body } = bedrockConverse.renderError(new WeirError(reason), "request-1");
    const { client, received } = await connect({ status, headers, body });
    const failure: unknown = await client.send(new ConverseCommand(request)).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BedrockRuntimeServiceException);
    expect(failure).toMatchObject({
      name: headers["x-amzn-errortype"],
      message: errorTable[reason].text,
      $metadata: { httpStatusCode: status, requestId: "request-1" },
    });
    expect(received).toHaveLength(1);
  },
);

test.each(reasons)("the client raises reason %i inside a stream, after what came before", async (reason) => {
  const failure = Buffer.from(bedrockConverse.renderErrorEvent(new WeirError(reason), "request-1"), "latin1");
  const body = Buffer.concat([streamed(reply.slice(0, 7)), failure]);
  const { client } = await connect({ headers: eventStream, body });
  const events: ConverseStreamOutput[] = [];
  const raised: unknown = await collect(client, events).catch((error: unknown) => error);
  expect(raised).toBeInstanceOf(BedrockRuntimeServiceException);
  expect(raised).toMatchObject({ message: errorTable[reason].text });
  expect(events.at(-1)).toEqual({ contentBlockDelta: { contentBlockIndex: 2, delta: { text: '𝒜"\n' } } });
});

test("a refusal for its rate tells the client how long to wait", async () => {
  const error = new WeirError(ErrorReason.RATE_LIMITED, { retryAfterMs: 1_500 });
  const { client } = await connect(bedrockConverse.renderError(error, "request-1"));
  const raised: unknown = await client.send(new ConverseCommand(request)).catch((thrown: unknown) => thrown);
  expect(raised).toMatchObject({
    name: "ThrottlingException",
    $response: { headers: { "retry-after": "2", "x-amz-retry-after": "1500" } },
  });
});

interface Outgoing {
  readonly headers: Readonly<Record<string, string>>;
  readonly path: string;
  readonly body: Uint8Array;
}

test("our signature of the client's request is the client's own", async () => {
  const signed: Outgoing[] = [];
  const client = new BedrockRuntimeClient({
    region: "us-east-1",
    credentials: { ...keys, sessionToken: "token" },
    maxAttempts: 1,
    // HTTP/1, in which the host is signed, and nothing is sent.
    requestHandler: {
      metadata: { handlerProtocol: "http/1.1" },
      handle: (outgoing: Outgoing) => {
        signed.push(outgoing);
        return Promise.reject(new Error("not sent"));
      },
      updateHttpClientConfig: () => undefined,
      httpHandlerConfigs: () => ({}),
    },
  });
  await expect(client.send(new ConverseCommand(request))).rejects.toThrow("not sent");
  const [{ headers, path, body } = { headers: {}, path: "", body: new Uint8Array(0) }] = signed;
  const theirs = headers["authorization"] ?? "";
  const names = /SignedHeaders=([\w;-]+),/.exec(theirs)?.[1]?.split(";") ?? [];
  const added: Readonly<Record<string, unknown>> = { host: 1, "x-amz-date": 1, "x-amz-security-token": 1 };
  expect(names).toEqual(expect.arrayContaining(Object.keys(added)));
  const date = headers["x-amz-date"] ?? "";
  const ours = await signPost(
    {
      origin: `https://${headers["host"] ?? ""}`,
      path,
      headers: names.filter((name) => !(name in added)).flatMap((name) => [name, headers[name] ?? ""]),
      body,
    },
    { region: "us-east-1", service: "bedrock" },
    { ...keys, sessionToken: "token" },
    Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z")),
  );
  expect(path).toContain("/model/arn%3Aaws%3A");
  expect(ours).toEqual(["authorization", theirs, "x-amz-date", date, "x-amz-security-token", "token"]);
});
