import { readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";

/** What the ledger had confirmed when the file was written. Only a hint: the ledger's own answer always counts. */
export const watermarkName = "watermark";

/** Reads the hint of a journal; undefined when there is none that can be trusted. */
export function readWatermark(directory: string, journalId: string): number | undefined {
  let text: string;
  try {
    text = readFileSync(join(directory, watermarkName), "utf8");
  } catch {
    // Only a hint: without it what the ledger has is sent again.
    return undefined;
  }
  const [id, digits, check] = text.trimEnd().split(" ");
  if (id !== journalId || digits === undefined || check !== checkOf(`${id} ${digits}`)) return undefined;
  const sequence = Number(digits);
  return Number.isSafeInteger(sequence) && sequence >= 0 ? sequence : undefined;
}

export async function writeWatermark(directory: string, journalId: string, sequence: number): Promise<void> {
  const text = `${journalId} ${sequence}`;
  const path = join(directory, watermarkName);
  await writeFile(`${path}.new`, `${text} ${checkOf(text)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

function checkOf(text: string): string {
  return crc32(text).toString(16).padStart(8, "0");
}
