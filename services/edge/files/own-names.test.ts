import { create, toBinary } from "@bufbuild/protobuf";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ResourceService } from "@weir/gen/weir/passthrough/v1/resource_service_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { callMetadata, hostService } from "@weir/kit/call";
import { createClient } from "@weir/kit/client";
import { createLocalDoor } from "@weir/kit/local";
import { missingResource } from "@weir/kit/missing-resource";
import { WeirError } from "@weir/kit/weir-error";
import { describe, expect, test } from "vitest";
import { createManualClock } from "../testing/manual-clock.ts";
import type { Reach } from "./collections.ts";
import type { Names } from "./kept-names.ts";
import { createOwnNames } from "./own-names.ts";

const owned = new Map([
  ["acme file-1", "file"],
  ["acme file-2", "file"],
  ["acme vs_a1", "vector_store"],
  ["acme vs_b1", "vector_store"],
  ["acme ft:small:acme::1", "model"],
  ["acme ft:a-file", "file"],
]);

/** `shared` is everybody's account, `sole` is acme's alone, `open` is each tenant's that comes. */
const providers = {
  shared: { accountTenants: [] },
  sole: { accountTenants: ["acme"] },
  open: { accountTenants: ["*"] },
};

const target = (provider: string, model = "m") => ({ provider, model });
const routes = [
  { alias: "shared", targets: [target("shared")] },
  { alias: "sole", targets: [target("sole")] },
  { alias: "open", targets: [target("open")] },
  { alias: "mixed", targets: [target("sole"), target("shared")] },
  { alias: "empty", targets: [] },
  { alias: "ft:house", targets: [target("shared", "ft:small:house::1")] },
  { alias: "any/*", targets: [target("shared", "")] },
  { alias: "sole/*", targets: [target("sole", "")] },
  { alias: "fixed/*", targets: [target("shared", "m")] },
];

/** The rule, and what was asked of the records and of the router. */
function setUp(records: "there" | "of an older version" | "away" = "there") {
  const clock = createManualClock();
  const asked: string[][] = [];
  let listed = 0;
  const door = createLocalDoor([
    hostService(ResourceService, {
      findResources({ resourceIds, partial }, context) {
        asked.push(resourceIds);
        if (records === "away") throw new WeirError(ErrorReason.STORE_UNAVAILABLE);
        const tenant = context.requestHeader.get("weir-principal-bin") === asTenant("acme") ? "acme" : "other";
        const resources = resourceIds.flatMap((resourceId) => {
          const kind = owned.get(`${tenant} ${resourceId}`);
          if (kind === undefined && (records === "of an older version" || !partial)) throw missingResource(resourceId);
          return kind === undefined ? [] : [{ resourceId, kind }];
        });
        return { resources };
      },
    }),
    hostService(RouteService, {
      listRoutes() {
        listed += 1;
        return { routes };
      },
    }),
  ]);
  const names = createOwnNames({
    resources: createClient(ResourceService, door),
    routes: createClient(RouteService, door),
    providers: () => providers,
    clock,
  });
  return { names, asked, clock, listed: () => listed };
}

function asTenant(tenant: string): string {
  return Buffer.from(toBinary(PrincipalSchema, create(PrincipalSchema, { tenant, key: "k" }))).toString("base64");
}

const who = { id: "k", principal: new Uint8Array() };
const everything: Reach = { ...who, collections: [], mayReach: () => true };
const onlyA: Reach = { ...who, collections: ["vs_a*"], mayReach: (id) => id.startsWith("vs_a") };

const as = (tenant: string, alias = "shared", caller: Reach = everything) => ({
  metadata: callMetadata(asTenant(tenant), "req_1", undefined),
  caller,
  alias,
});

const naming = (more: Partial<Names>): Names => ({ ids: [], stores: [], members: [], ...more });
const ids = (...named: string[]) => naming({ ids: named });
const container = naming({ members: ["container"] });

const missing = (resource: string) => ({ reason: ErrorReason.NOT_FOUND, metadata: { resource } });
const refused = (member: string) => ({ reason: ErrorReason.FORBIDDEN, metadata: { member } });

describe("what is on record", () => {
  test("is its tenant's to name; for a minute nobody is asked again", async () => {
    const { names, asked, clock, listed } = setUp();
    await names.check(ids("file-1"), as("acme"));
    await names.check(ids("file-1", "file-2"), as("acme"));
    expect(asked).toEqual([["file-1"], ["file-2"]]);
    clock.advance(60_001);
    await names.check(ids("file-1"), as("acme"));
    expect([asked.length, listed()]).toEqual([3, 0]);
  });

  test("of others, and what is nobody's, is not there, also once its owner has named it", async () => {
    const { names } = setUp();
    await names.check(ids("file-1"), as("acme"));
    await expect(names.check(ids("file-1"), as("other"))).rejects.toMatchObject(missing("file-1"));
    await expect(names.check(ids("file-1", "file-9"), as("acme"))).rejects.toMatchObject(missing("file-9"));
    await expect(names.check(ids("x".repeat(300)), as("acme"))).rejects.toMatchObject({
      reason: ErrorReason.NOT_FOUND,
    });
    await expect(
      names.check(ids(...Array.from({ length: 1_001 }, (_, at) => `f${at}`)), as("acme")),
    ).rejects.toMatchObject({ reason: ErrorReason.INVALID_REQUEST });
  });

  test("cannot be named while the records are away, nor what is missing where they are of an older version", async () => {
    await expect(setUp("away").names.check(ids("file-1"), as("acme"))).rejects.toMatchObject({
      reason: ErrorReason.STORE_UNAVAILABLE,
    });
    const { names } = setUp("of an older version");
    await names.check(ids("file-1"), as("acme"));
    await expect(names.check(ids("file-9"), as("acme"))).rejects.toMatchObject(missing("file-9"));
  });

  test("is out of reach for a caller that is confined to other collections", async () => {
    const { names } = setUp();
    const confined = as("acme", "shared", onlyA);
    await names.check({ ...ids("vs_a1", "file-1"), stores: ["vs_a1"] }, confined);
    // Also where another member than one of stores names it.
    await expect(names.check(ids("vs_b1"), confined)).rejects.toMatchObject(missing("vs_b1"));
    await expect(names.check({ ...ids("vs_c1"), stores: ["vs_c1"] }, confined)).rejects.toMatchObject(missing("vs_c1"));
    await names.check(ids("vs_a1", "vs_b1"), as("acme"));
    await expect(names.check(ids("vs_b1"), confined)).rejects.toMatchObject(missing("vs_b1"));
  });
});

describe("what is not on record", () => {
  test("may be named where all accounts that an alias leads to are the tenant's, and nowhere else", async () => {
    const { names } = setUp();
    for (const alias of ["sole", "open"]) {
      await names.check(ids("file-9"), as("acme", alias));
      await names.check(container, as("acme", alias));
    }
    await names.check(container, as("other", "open"));
    for (const [tenant, alias] of [
      ["acme", "shared"],
      ["acme", "mixed"],
      ["acme", "empty"],
      ["acme", "nobody-knows"],
      ["acme", ""],
      ["other", "sole"],
    ] as const) {
      await expect(names.check(ids("file-9"), as(tenant, alias))).rejects.toMatchObject(missing("file-9"));
      await expect(names.check(container, as(tenant, alias))).rejects.toMatchObject(refused("container"));
    }
  });

  test("the refusal says which member is at fault, and which setting", async () => {
    await expect(setUp().names.check(container, as("acme"))).rejects.toThrow(/`container`.*`account_tenants`/);
    await expect(setUp().names.check(ids("file-9"), as("acme"))).rejects.toThrow(/`account_tenants`/);
  });

  test("a key's collections hold for stores there, by their names", async () => {
    const { names } = setUp();
    const search = (...stores: string[]) => naming({ stores, members: ["fileSearchStoreNames"] });
    const onlyX: Reach = { ...who, collections: ["fileSearchStores/x"], mayReach: (id) => id === "fileSearchStores/x" };
    await names.check(search("fileSearchStores/x"), as("acme", "sole", onlyX));
    await names.check(search("fileSearchStores/x", "fileSearchStores/y"), as("acme", "sole"));
    const other = names.check(search("fileSearchStores/x", "fileSearchStores/y"), as("acme", "sole", onlyX));
    await expect(other).rejects.toMatchObject(missing("fileSearchStores/y"));
    await expect(names.check({ ...ids("vs_z"), stores: ["vs_z"] }, as("acme", "sole", onlyX))).rejects.toMatchObject(
      missing("vs_z"),
    );
    await expect(names.check(search("fileSearchStores/x"), as("acme", "shared", onlyX))).rejects.toMatchObject(
      refused("fileSearchStoreNames"),
    );
  });
});

describe("models that somebody made", () => {
  const none = naming({});
  const foreign = { reason: ErrorReason.MODEL_NOT_FOUND };

  test("may be named by whose job tuned them, and by whom the account belongs to, where a pattern leads there", async () => {
    const { names } = setUp();
    await names.check(none, as("acme", "any/ft:small:acme::1"));
    await names.check(none, as("acme", "sole/ft:small:other::1"));
    for (const [tenant, alias] of [
      ["other", "any/ft:small:acme::1"],
      ["acme", "any/tunedModels/x"],
      ["acme", "any/models/ft:x"],
      ["acme", "any/arn:aws:bedrock:eu-central-1:1:prompt/p"],
      ["acme", "any/ft:a-file"],
      ["other", "sole/ft:small:acme::1"],
    ] as const) {
      await expect(names.check(none, as(tenant, alias))).rejects.toMatchObject(foreign);
    }
  });

  test("are the operator's to give where an alias or its target names them", async () => {
    const { names, asked } = setUp();
    await names.check(none, as("other", "ft:house"));
    await names.check(none, as("other", "fixed/ft:x"));
    await names.check(none, as("other", "any/draft:latest"));
    await names.check(none, as("other", "unknown-ft:x"));
    expect(asked).toEqual([]);
  });

  test("of the lines of a batch are the tenant's, or a vendor's", async () => {
    const { names } = setUp();
    const models = ["gpt-4o", "ft:small:acme::1", "ft:small:other::1"];
    const { metadata } = as("acme");
    expect([...(await names.ownModels(models, metadata))]).toEqual(["gpt-4o", "ft:small:acme::1"]);
    expect([...(await names.ownModels(["gpt-4o"], {}))]).toEqual(["gpt-4o"]);
  });
});

test("who does not say who calls names nothing", async () => {
  const { names } = setUp();
  const forbidden = { reason: ErrorReason.FORBIDDEN };
  const { metadata } = as("acme");
  await expect(names.check(ids("file-1"), { metadata: {}, caller: everything, alias: "sole" })).rejects.toMatchObject(
    forbidden,
  );
  await expect(names.check(ids("file-1"), { metadata, caller: undefined, alias: "sole" })).rejects.toMatchObject(
    forbidden,
  );
  await names.check(naming({}), { metadata: {}, caller: undefined, alias: "m" });
});
