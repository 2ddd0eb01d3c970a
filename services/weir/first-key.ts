import { existsSync } from "node:fs";
import type { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { Role } from "@weir/gen/weir/common/v1/access_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { parseKeyText } from "@weir/kit/api-key";
import type { Client } from "@weir/kit/call";
import { WeirError } from "@weir/kit/weir-error";
import { type DataFolder, readTextFile, writePrivateFile } from "./data-folder.ts";

/** The key that a data folder keeps for its owner. */
export type FirstKey =
  /** Made now. */
  | { readonly kind: "created"; readonly text: string }
  /** Made at an earlier start, and good. */
  | { readonly kind: "kept"; readonly text: string }
  /** There are keys, but none that the folder knows of. */
  | { readonly kind: "elsewhere" };

const timeoutMs = 15_000;

/**
 * Makes the first key, that of an owner in every tenant, who is told its text once; the data folder keeps it in a file that
 * only its owner can read. Does nothing when there are keys. A crash between the two steps leaves an empty file behind: the
 * next start then makes another key.
 * @param accounts called as the operator
 */
export async function ensureFirstKey(accounts: Client<typeof AccountService>, folder: DataFolder): Promise<FirstKey> {
  const kept = readTextFile(folder.key) ?? "";
  const id = parseKeyText(kept)?.id;
  if (id !== undefined && (await isGood(accounts, id))) return { kind: "kept", text: kept };
  const { keys } = await accounts.listKeys({ pageSize: 1 }, { timeoutMs });
  const unfinished = existsSync(folder.key) && kept === "";
  if (keys.length > 0 && !unfinished) return { kind: "elsewhere" };
  writePrivateFile(folder.key, "");
  const { secret } = await accounts.createKey(
    { tenant: "tenants/default", displayName: "first key", role: Role.OWNER, everyTenant: true },
    { timeoutMs },
  );
  writePrivateFile(folder.key, `${secret}\n`);
  return { kind: "created", text: secret };
}

async function isGood(accounts: Client<typeof AccountService>, id: string): Promise<boolean> {
  try {
    const { key } = await accounts.getKey({ name: `keys/${id}` }, { timeoutMs });
    return key?.revokeTime === undefined;
  } catch (error) {
    if (error instanceof WeirError && error.reason === ErrorReason.NOT_FOUND) return false;
    throw error;
  }
}
