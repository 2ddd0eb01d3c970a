import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import { hostService, type requestMetadata } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { type RpcService, rpcService } from "../../rpc/public-methods.ts";
import { type HarnessOptions, startEdge } from "../../testing/harness.ts";
import { createTestService, type MethodInit } from "./schema.ts";

const modelsCall = { permission: Permission.MODELS_CALL, endpoint: "chat" };

/** What the methods of a made-up service do. */
interface Script {
  readonly get?: (request: Record<string, unknown>, context: Context) => unknown;
  readonly list?: (request: Record<string, unknown>, context: Context) => AsyncGenerator<unknown, void, undefined>;
}
type Context = Parameters<typeof requestMetadata>[0];

const methods: Readonly<Record<string, MethodInit>> = {
  Get: {
    types: "Thing -> Thing",
    access: modelsCall,
    rule: {
      pattern: { case: "get", value: "/v1/{name=things/*}" },
      additionalBindings: [
        { pattern: { case: "patch", value: "/v1/{name=things/*}" }, body: "*" },
        { pattern: { case: "get", value: "/v1/{name=things/*}:texts" }, responseBody: "texts" },
        { pattern: { case: "get", value: "/v1/{name=things/*}:count" }, responseBody: "count" },
        { pattern: { case: "get", value: "/v1/{name=things/*}:inner" }, responseBody: "inner" },
      ],
    },
  },
  List: {
    types: "Thing -> stream Thing",
    access: modelsCall,
    rule: { pattern: { case: "get", value: "/v1/things" } },
  },
  Open: {
    types: "Thing -> Thing",
    access: { permission: Permission.PUBLIC, endpoint: "" },
    rule: { pattern: { case: "get", value: "/v1/open" } },
  },
};

const testService = createTestService({
  messages: {
    Thing: { name: "string", texts: "repeated string", count: "int64", display_name: "string", inner: "Inner" },
    Inner: { leaf: "string" },
  },
  methods,
});

/** An edge before the made-up service. */
export async function startMessaging(script: Script, options: HarnessOptions = {}) {
  const get = script.get ?? ((request) => request);
  const hosted = hostService(testService, { get, list: script.list, open: get } as never);
  const client = createClient(testService, createLocalDoor([hosted], { onDefect: () => undefined }));
  const rpc: RpcService[] = [rpcService(testService, client as never)];
  const edge = await startEdge({ ...options, deps: { rpc } });
  const call = (path: string, init: RequestInit = {}) =>
    fetch(`${edge.url}${path}`, { ...init, headers: { authorization: `Bearer ${edge.key}`, ...init.headers } });
  const json = { "content-type": "application/json" };
  const patch = (path: string, body: string, headers: Record<string, string> = json) =>
    call(path, { method: "PATCH", body, headers });
  return { edge, call, patch };
}

/** Three things, each in a turn of its own. */
export async function* three(): AsyncGenerator<unknown, void, undefined> {
  for (const name of ["a", "b", "c"]) {
    yield { name };
    await new Promise((resolve) => setImmediate(resolve));
  }
}
