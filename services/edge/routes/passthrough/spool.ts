import { randomUUID } from "node:crypto";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import { heldBytes } from "../../http/body.ts";
import type { DiskQuota } from "./disk-quota.ts";

/** What one body may hold in memory. */
const memoryBytesMax = 1_048_576;
const readBytes = 65_536;

/**
 * Keeps the bytes of one body until it is known where they go: the first MiB in memory, the rest in a file that has no name any
 * more, so that it goes with the process, however that ends.
 */
export class Spool {
  private readonly quota: DiskQuota;
  private readonly tenant: string;
  private readonly memory: Buffer[] = [];
  private memoryBytes = 0;
  private file: FileHandle | undefined;
  private fileBytes = 0;

  /** @param tenant whose body it is */
  constructor(quota: DiskQuota, tenant: string) {
    this.quota = quota;
    this.tenant = tenant;
  }

  /** @throws WeirError RATE_LIMITED, OVERLOADED when the quota is used up */
  async add(bytes: Buffer): Promise<void> {
    if (this.file === undefined && this.memoryBytes + heldBytes(bytes) <= memoryBytesMax) {
      this.memory.push(bytes);
      this.memoryBytes += heldBytes(bytes);
      return;
    }
    this.quota.take(this.tenant, bytes.length);
    this.fileBytes += bytes.length;
    this.file ??= await openUnnamed();
    await this.file.write(bytes, 0, bytes.length);
  }

  /** Everything that was added, in order; to be called once, when no more is added. */
  async *read(): AsyncGenerator<Buffer> {
    yield* this.memory.splice(0);
    const { file, fileBytes } = this;
    if (file === undefined) return;
    for (let at = 0; at < fileBytes; ) {
      const buffer = Buffer.allocUnsafe(Math.min(readBytes, fileBytes - at));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new WeirError(ErrorReason.INTERNAL);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  /** Gives memory and disk back. Safe to call twice. */
  async close(): Promise<void> {
    this.memory.length = 0;
    this.quota.give(this.tenant, this.fileBytes);
    this.fileBytes = 0;
    const { file } = this;
    this.file = undefined;
    await file?.close();
  }
}

async function openUnnamed(): Promise<FileHandle> {
  const path = join(tmpdir(), `weir-body-${randomUUID()}`);
  const file = await open(path, "wx+", 0o600);
  await unlink(path);
  return file;
}
