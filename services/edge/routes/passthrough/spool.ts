import { randomUUID } from "node:crypto";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";

/** What one body may hold in memory. */
const memoryBytesMax = 1_048_576;
/** What all bodies may hold on disk. */
const diskBytesMax = 4 * 1024 * 1024 * 1024;
const readBytes = 65_536;

let diskBytes = 0;

/**
 * Keeps the bytes of one body until it is known where they go: the first MiB in memory, the rest in a file that has no name any
 * more, so that it goes with the process, however that ends.
 */
export class Spool {
  private readonly memory: Buffer[] = [];
  private memoryBytes = 0;
  private file: FileHandle | undefined;
  private fileBytes = 0;

  /** @throws WeirError OVERLOADED when all bodies together are too large for the disk's share */
  async add(bytes: Buffer): Promise<void> {
    if (this.file === undefined && this.memoryBytes + bytes.length <= memoryBytesMax) {
      this.memory.push(bytes);
      this.memoryBytes += bytes.length;
      return;
    }
    if (diskBytes + bytes.length > diskBytesMax) throw new WeirError(ErrorReason.OVERLOADED, { retryAfterMs: 1_000 });
    diskBytes += bytes.length;
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
    diskBytes -= this.fileBytes;
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
