import { randomBytes, randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { PrincipalSchema } from "@weir/gen/weir/common/v1/principal_pb";
import { ClaimState, IdempotencyService } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";
import { callMetadata, type Client } from "@weir/kit/call";
import { createMesh } from "@weir/kit/mesh";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { migrate } from "../migrate.ts";
import { openTestDatabase, type TestDatabase } from "../testing.ts";
import { createClaimStore } from "./claim-store.ts";
import { createIdempotencyService } from "./service.ts";

const lease = durationFromMs(60_000);
const timeToLive = durationFromMs(86_400_000);
const outcome = Buffer.from("sealed");

function as(tenant: string) {
  const principal = toBinary(PrincipalSchema, create(PrincipalSchema, { tenant, key: "abcdefghijklmnop" }));
  return { metadata: callMetadata(Buffer.from(principal).toString("base64"), "req_1", undefined) };
}

describe.each(["embedded", "postgres"] as const)("claims on idempotency keys, %s", (engine) => {
  let db: TestDatabase;
  let client: Client<typeof IdempotencyService>;
  beforeAll(async () => {
    db = await openTestDatabase(engine);
    await migrate(db.database);
    const mesh = createMesh({ name: "test" });
    mesh.host("metering", IdempotencyService, createIdempotencyService(createClaimStore(db.database)));
    client = mesh.client(IdempotencyService, "metering");
    await mesh.start();
  });
  afterAll(() => db.end());

  function newRequest() {
    return { keyId: randomBytes(32), requestDigest: randomBytes(32), lease, timeToLive };
  }
  const claim = (request: ReturnType<typeof newRequest>, claimId = randomUUID(), tenant = "acme") =>
    client.claimKey({ ...request, claimId }, as(tenant));
  const lapse = (claimId: string) =>
    db.query("update idempotency_keys set lease_expire_time = now() - interval '1 ms' where claim_id = $1", [claimId]);
  const expire = (claimId: string) =>
    db.query("update idempotency_keys set expire_time = now() - interval '1 ms' where claim_id = $1", [claimId]);

  test("of many that come at once one gets the key, and the outcome is everybody's", async () => {
    const request = newRequest();
    const ids = Array.from({ length: 8 }, () => randomUUID());
    const states = await Promise.all(ids.map(async (id) => (await claim(request, id)).state));
    expect(states.filter((state) => state === ClaimState.CLAIMED)).toHaveLength(1);
    expect(states.filter((state) => state === ClaimState.IN_USE)).toHaveLength(7);
    const winner = ids[states.indexOf(ClaimState.CLAIMED)] ?? randomUUID();
    // The same claim, because the answer to the first was lost.
    expect((await claim(request, winner)).state).toBe(ClaimState.CLAIMED);
    expect((await client.storeOutcome({ claimId: winner, outcome }, as("acme"))).stored).toBe(true);
    const again = await claim(request);
    expect(again.state).toBe(ClaimState.ANSWERED);
    expect(Buffer.from(again.outcome)).toEqual(outcome);
    await client.storeOutcome({ claimId: winner, outcome: Buffer.from("another") }, as("acme"));
    expect(Buffer.from((await claim(request)).outcome)).toEqual(outcome);
  });

  test("another request under the same key is told apart, before and after the answer", async () => {
    const request = newRequest();
    const claimId = randomUUID();
    await claim(request, claimId);
    const other = { ...request, requestDigest: randomBytes(32) };
    expect((await claim(other)).state).toBe(ClaimState.OTHER_REQUEST);
    await client.storeOutcome({ claimId, outcome }, as("acme"));
    expect((await claim(other)).state).toBe(ClaimState.OTHER_REQUEST);
  });

  test("the claim of an edge that was killed is free when its lease has run out, and late outcomes are not taken", async () => {
    const request = newRequest();
    const dead = randomUUID();
    await claim(request, dead);
    expect((await claim(request)).state).toBe(ClaimState.IN_USE);
    await lapse(dead);
    expect((await claim(request)).state).toBe(ClaimState.CLAIMED);
    expect((await client.storeOutcome({ claimId: dead, outcome }, as("acme"))).stored).toBe(false);
  });

  test("a claim that is renewed holds, and one that is given up is free at once", async () => {
    const request = newRequest();
    const claimId = randomUUID();
    await claim(request, claimId);
    await lapse(claimId);
    await client.renewClaims({ claimIds: [claimId], lease });
    expect((await claim(request)).state).toBe(ClaimState.IN_USE);
    await client.releaseClaim({ claimId }, as("acme"));
    expect((await claim(request)).state).toBe(ClaimState.CLAIMED);
  });

  test("an outcome is never given up, and is gone when it has expired", async () => {
    const request = newRequest();
    const claimId = randomUUID();
    await claim(request, claimId);
    await client.storeOutcome({ claimId, outcome }, as("acme"));
    await client.releaseClaim({ claimId }, as("acme"));
    await lapse(claimId);
    expect((await claim(request)).state).toBe(ClaimState.ANSWERED);
    await expire(claimId);
    expect((await claim(request)).state).toBe(ClaimState.CLAIMED);
  });

  test("tenants do not meet: the same key is two keys, and nobody ends another's claim", async () => {
    const request = newRequest();
    const claimId = randomUUID();
    await claim(request, claimId);
    expect((await claim(request, randomUUID(), "globex")).state).toBe(ClaimState.CLAIMED);
    expect((await client.storeOutcome({ claimId, outcome }, as("globex"))).stored).toBe(false);
    await client.releaseClaim({ claimId }, as("globex"));
    expect((await claim(request)).state).toBe(ClaimState.IN_USE);
  });

  test("what has expired is swept away, and nothing else", async () => {
    await db.query("delete from idempotency_keys");
    const store = createClaimStore(db.database);
    const gone = randomUUID();
    await claim(newRequest(), gone);
    await claim(newRequest());
    await expire(gone);
    expect(await store.sweep(10)).toBe(1);
    expect(await store.sweep(10)).toBe(0);
    expect(await db.query("select claim_id from idempotency_keys")).toHaveLength(1);
  });
});
