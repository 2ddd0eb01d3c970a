import { ApiError, GoogleGenAI } from "@google/genai";
import { startEdge, stopEdges } from "@weir/edge/testing/harness";
import { create } from "@bufbuild/protobuf";
import { ListRoutesResponseSchema, RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import OpenAI, { AzureOpenAI } from "openai";
import { afterEach, expect, test } from "vitest";

afterEach(stopEdges);

const aliases = ["small", "large", "meta/llama", "meta/*", "hidden"];
const visible = ["large", "meta/llama", "small"];

/** An edge of those aliases, and a key that may not call the last of them. */
async function start() {
  const routes = aliases.map((alias) => ({
    name: `routes/${alias}`,
    alias,
    targets: [{ provider: "demo", model: alias }],
  }));
  const answer = create(ListRoutesResponseSchema, { routes });
  const client = createClient(RouteService, createLocalDoor([hostService(RouteService, { listRoutes: () => answer })]));
  return startEdge({ deps: { routes: client }, scope: { models: ["small", "large", "meta/*"] } });
}

test.each(["v1", "v1beta", "v1alpha"])("Google's library lists models of %s, page by page", async (apiVersion) => {
  const { url, key } = await start();
  const { models } = new GoogleGenAI({ apiKey: key, apiVersion, httpOptions: { baseUrl: url } });
  for (const config of [undefined, { pageSize: 1 }, { pageSize: 2 }, { pageSize: 5_000 }]) {
    const names: (string | undefined)[] = [];
    for await (const { name } of await models.list(config === undefined ? {} : { config })) names.push(name);
    expect(names).toEqual(visible.map((alias) => `models/${alias}`));
  }
  const model = await models.get({ model: "meta/other" });
  expect(model).toMatchObject({ name: "models/meta/other", displayName: "meta/other" });
  expect(model.supportedActions).toContain("generateContent");
  for (const hidden of ["hidden", "none"]) {
    const refused = models.get({ model: hidden });
    await expect(refused).rejects.toBeInstanceOf(ApiError);
    await expect(refused).rejects.toMatchObject({ status: 404 });
  }
  await expect(models.list({ config: { pageSize: -1 } })).rejects.toMatchObject({ status: 400 });
});

test.each([
  ["its own base URL", (url: string, key: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key })],
  ["that of Azure's version 1", (url: string, key: string) => new OpenAI({ baseURL: `${url}/openai/v1`, apiKey: key })],
  ["Azure", (url: string, key: string) => new AzureOpenAI({ endpoint: url, apiKey: key, apiVersion: "2024-10-21" })],
])("OpenAI's library at %s lists models", async (_, open) => {
  const { url, key } = await start();
  const { models } = open(url, key);
  const ids: string[] = [];
  for await (const { id } of models.list()) ids.push(id);
  expect(ids.toSorted()).toEqual(visible);
  expect(await models.retrieve("small")).toMatchObject({ id: "small", object: "model" });
  await expect(models.retrieve("hidden")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
});
