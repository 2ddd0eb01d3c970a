import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import type { Client } from "@weir/kit/call";
import { createMesh } from "@weir/kit/mesh";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { as } from "../conversations/testing.ts";
import { migrate } from "../migrate.ts";
import { openTestDatabase, type TestDatabase } from "../testing.ts";
import { createResourceStore } from "./resource-store.ts";
import { createResources } from "./resources.ts";

describe.each(["embedded", "postgres"] as const)("resources, %s", (engine) => {
  let db: TestDatabase;
  let client: Client<typeof ResourceService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    await migrate(db.database);
    const mesh = createMesh({ name: "test" });
    mesh.host("metering", ResourceService, createResources(createResourceStore(db.database)));
    client = mesh.client(ResourceService, "metering");
    await mesh.start();
  });
  afterAll(() => db.end());
  beforeEach(() => db.query("delete from resources"));

  const record = (resourceId: string, tenant = "acme", kind = "file", provider = "openai") =>
    client.recordResource(
      { resource: { resourceId, kind, place: { provider, account: "a1" }, alias: "m" } },
      as(tenant),
    );
  const find = async (resourceIds: string[], tenant = "acme") =>
    (await client.findResources({ resourceIds }, as(tenant))).resources;
  const list = async (
    page: { pageSize?: number; after?: string; kind?: string; matching?: string[] } = {},
    tenant = "acme",
  ) => {
    const { resources, hasMore } = await client.listResources({ kind: "file", pageSize: 10, ...page }, as(tenant));
    return { ids: resources.map(({ resourceId }) => resourceId), hasMore };
  };

  test("what is recorded is found, in the order asked for, with its place", async () => {
    await record("file-1");
    await record("file-1");
    await record("file-2");
    expect(await find(["file-2", "file-1"])).toMatchObject([
      { resourceId: "file-2", kind: "file", place: { provider: "openai", account: "a1" }, alias: "m" },
      { resourceId: "file-1" },
    ]);
  });

  test("what is not there fails the look for all, or is left out where that is asked for; another tenant's is not there", async () => {
    await record("file-1");
    const resourceIds = ["file-1", "file-9"];
    await expect(find(resourceIds)).rejects.toMatchObject({ metadata: { resource: "file-9" } });
    const partly = async (tenant: string) =>
      (await client.findResources({ resourceIds, partial: true }, as(tenant))).resources.map(
        ({ resourceId }) => resourceId,
      );
    expect([await partly("acme"), await partly("globex")]).toEqual([["file-1"], []]);
  });

  test("what a batch's input names is kept with it; of other files nothing is", async () => {
    const batchInput = {
      models: [
        { model: "m", line: 1 },
        { model: "n", line: 7 },
      ],
    };
    const place = { provider: "openai", account: "a1" };
    await client.recordResource({ resource: { resourceId: "file-in", kind: "file", place, batchInput } }, as("acme"));
    await record("file-1");
    const [input, other] = await find(["file-in", "file-1"]);
    expect(input).toMatchObject({ batchInput });
    expect(other?.batchInput).toBeUndefined();
  });

  test("another tenant's is not there: neither found nor listed, nor forgotten or taken over", async () => {
    await record("file-1");
    const missing = { reason: ErrorReason.NOT_FOUND, metadata: { resource: "file-1" } };
    await expect(find(["file-1"], "other")).rejects.toMatchObject(missing);
    expect(await list({}, "other")).toEqual({ ids: [], hasMore: false });
    await expect(list({ after: "file-1" }, "other")).rejects.toMatchObject(missing);
    await expect(record("file-1", "other")).rejects.toMatchObject({ reason: ErrorReason.ALREADY_EXISTS });
    await client.forgetResource({ resourceId: "file-1" }, as("other"));
    expect(await find(["file-1"])).toHaveLength(1);
  });

  test("lists give one kind, the newest first, page by page", async () => {
    for (const id of ["file-1", "file-2", "file-3"]) await record(id);
    await record("batch-1", "acme", "batch");
    expect(await list({ pageSize: 2 })).toEqual({ ids: ["file-3", "file-2"], hasMore: true });
    expect(await list({ pageSize: 2, after: "file-2" })).toEqual({ ids: ["file-1"], hasMore: false });
    expect(await list({ kind: "batch" })).toEqual({ ids: ["batch-1"], hasMore: false });
    await expect(list({ after: "batch-1" })).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
  });

  test("a list of some gives pages of those, as if the others were not there", async () => {
    for (const id of ["vs_a1", "vs_b1", "vs_a2", "vs_%", "vs_a3"]) await record(id, "acme", "vector_store");
    await record("vs_a9", "other", "vector_store");
    const some = (matching: string[], page: object = {}) => list({ kind: "vector_store", matching, ...page });
    expect(await some(["vs_a*", "vs_b1", "vs_a9"], { pageSize: 2 })).toEqual({
      ids: ["vs_a3", "vs_a2"],
      hasMore: true,
    });
    expect(await some(["vs_a*", "vs_b1"], { after: "vs_a2" })).toEqual({ ids: ["vs_b1", "vs_a1"], hasMore: false });
    expect(await some(["vs_%*", "vs__1"])).toEqual({ ids: ["vs_%"], hasMore: false });
    expect((await some(["*"])).ids).toHaveLength(5);
    await expect(some(["vs_a*"], { after: "vs_b1" })).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
  });

  test("what is forgotten is gone, for good and without complaint", async () => {
    await record("file-1");
    await client.forgetResource({ resourceId: "file-1" }, as("acme"));
    await client.forgetResource({ resourceId: "file-1" }, as("acme"));
    await expect(find(["file-1"])).rejects.toMatchObject({ reason: ErrorReason.NOT_FOUND });
  });

  test("a call without a principal is refused", async () => {
    await expect(client.forgetResource({ resourceId: "file-1" })).rejects.toMatchObject({
      reason: ErrorReason.FORBIDDEN,
    });
  });
});
