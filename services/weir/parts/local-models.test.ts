import { create } from "@bufbuild/protobuf";
import { ConfigSchema } from "@weir/gen/weir/config/v1/config_pb";
import { ProviderKind } from "@weir/gen/weir/config/v1/provider_pb";
import { systemClock } from "@weir/kit/clock";
import type { ModelServer } from "@weir/kit/model-server";
import { expect, test } from "vitest";
import { createLocalModels } from "./local-models.ts";

const options = { clock: systemClock, log: { debug() {}, info() {}, warn() {}, error() {} } };
const local = { kind: ProviderKind.LOCAL, local: { files: { tiny: "/models/tiny.gguf" } } };
const remote = { kind: ProviderKind.OPENAI, baseUrl: "http://remote/v1" };

/** A server that records what it was made ready for. */
function recordingServer() {
  const prepared: string[][] = [];
  let inForce: string[] = [];
  let closed = false;
  const server: ModelServer = {
    baseUrl: (provider) => `http://127.0.0.1:1/${provider}/v1`,
    token: "secret",
    prepare: async (providers) => {
      const names = [...providers.keys()];
      prepared.push(names);
      return () => {
        inForce = names;
      };
    },
    close: async () => {
      closed = true;
    },
  };
  return { server, prepared, inForce: () => inForce, closed: () => closed };
}

test("without a local provider nothing is loaded, and the configuration stays as it is", async () => {
  const models = createLocalModels({ ...options, load: () => Promise.reject(new Error("loaded")) });
  const config = create(ConfigSchema, { providers: { remote } });
  const { config: same, commit } = await models.prepare(config);
  expect(same).toBe(config);
  commit();
  await models.close();
});

test("a local provider is called where its server listens, and needs no tools or pictures unless weir.yaml says so", async () => {
  const { server, inForce, closed } = recordingServer();
  const models = createLocalModels({ ...options, load: async () => async () => server });
  const own = { ...local, capabilities: { seeing: { images: true } } };
  const config = create(ConfigSchema, { providers: { remote, house: own } });
  const { config: ready, commit } = await models.prepare(config);
  expect(ready.providers["house"]).toMatchObject({ baseUrl: "http://127.0.0.1:1/house/v1", apiKey: "secret" });
  expect(ready.providers["house"]?.capabilities).toMatchObject({
    "*": { tools: false, images: false },
    seeing: { images: true },
  });
  expect(ready.providers["remote"]).toMatchObject({ baseUrl: "http://remote/v1", apiKey: "" });
  // The key of the server is in no configuration that others see.
  expect(config.providers["house"]?.apiKey).toBe("");
  expect(inForce()).toEqual([]);
  commit();
  expect(inForce()).toEqual(["house"]);
  (await models.prepare(create(ConfigSchema, { providers: { remote } }))).commit();
  expect(inForce()).toEqual([]);
  await models.close();
  expect(closed()).toBe(true);
});

test("what is not installed is named with the command that installs it, and looked for again", async () => {
  const { server } = recordingServer();
  let tries = 0;
  const models = createLocalModels({
    ...options,
    load: async () => {
      tries += 1;
      if (tries === 1) throw Object.assign(new Error("no such package"), { code: "ERR_MODULE_NOT_FOUND" });
      return async () => server;
    },
  });
  const config = create(ConfigSchema, { providers: { house: local } });
  await expect(models.prepare(config)).rejects.toMatchObject({
    faults: [{ path: "providers.house.kind", text: expect.stringContaining("npm run local:install") as string }],
  });
  await expect(models.prepare(config)).resolves.toBeDefined();
});
