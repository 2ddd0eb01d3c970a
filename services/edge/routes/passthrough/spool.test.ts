import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { expect, test } from "vitest";
import { DiskQuota } from "./disk-quota.ts";
import { Spool } from "./spool.ts";

const mebibyte = Buffer.alloc(1_048_576, "x");
const overloaded = expect.objectContaining({ reason: ErrorReason.OVERLOADED });
const ofTenant = expect.objectContaining({
  reason: ErrorReason.RATE_LIMITED,
  message: expect.stringContaining("send `model` before the file"),
  metadata: { limit: "concurrent", scope: "tenant" },
});

test("a tenant holds a quarter of the disk's share in all its uploads, and others are served beside it", async () => {
  const quota = new DiskQuota(8 * mebibyte.length);
  const [first, second, other] = ["acme", "acme", "globex"].map((tenant) => new Spool(quota, tenant)) as [
    Spool,
    Spool,
    Spool,
  ];
  // The first of each stays in memory.
  for (const spool of [first, first, second, second]) await spool.add(mebibyte);
  await expect(first.add(mebibyte)).rejects.toEqual(ofTenant);
  await expect(second.add(mebibyte)).rejects.toEqual(ofTenant);
  for (let count = 0; count < 3; count++) await other.add(mebibyte);

  let bytes = 0;
  for await (const piece of other.read()) bytes += piece.length;
  expect(bytes).toBe(3 * mebibyte.length);

  // What one lets go of, twice or not, is there again.
  await first.close();
  await first.close();
  await second.add(mebibyte);
  await expect(second.add(mebibyte)).rejects.toEqual(ofTenant);
  for (const spool of [second, other]) await spool.close();
});

test("all tenants together hold no more than the disk's share", () => {
  const quota = new DiskQuota(100);
  for (const tenant of ["a", "b", "c", "d"]) quota.take(tenant, 25);
  expect(() => quota.take("e", 1)).toThrow(overloaded);
  quota.give("a", 25);
  quota.take("e", 25);
  expect(() => quota.take("a", 1)).toThrow(overloaded);
});
