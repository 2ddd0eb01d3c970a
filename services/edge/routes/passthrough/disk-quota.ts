import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** The part of it that one tenant may hold. */
const tenantShare = 0.25;
const retryMs = 1_000;

/** Counts what bodies hold on disk, so that all of them together are bounded, and one tenant leaves room for others. */
export class DiskQuota {
  private readonly bytesMax: number;
  private readonly tenantBytesMax: number;
  private bytes = 0;
  /** Of those that hold something. */
  private readonly bytesByTenant = new Map<string, number>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
    this.tenantBytesMax = Math.floor(bytesMax * tenantShare);
  }

  /** @throws WeirError RATE_LIMITED when the tenant would hold more than its share, OVERLOADED when all would hold too much */
  take(tenant: string, bytes: number): void {
    const held = (this.bytesByTenant.get(tenant) ?? 0) + bytes;
    if (held > this.tenantBytesMax) {
      throw new WeirError(ErrorReason.RATE_LIMITED, {
        text: `The uploads of this tenant that wait for their model's name hold ${this.tenantBytesMax} bytes together, which is the most; send \`model\` before the file, or fewer at once.`,
        metadata: { limit: "concurrent", scope: "tenant" },
        retryAfterMs: retryMs,
      });
    }
    if (this.bytes + bytes > this.bytesMax) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: retryMs });
    this.bytes += bytes;
    this.bytesByTenant.set(tenant, held);
  }

  /** Gives back what was taken. */
  give(tenant: string, bytes: number): void {
    this.bytes -= bytes;
    const held = (this.bytesByTenant.get(tenant) ?? 0) - bytes;
    if (held > 0) this.bytesByTenant.set(tenant, held);
    else this.bytesByTenant.delete(tenant);
  }
}
