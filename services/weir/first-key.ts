import { existsSync } from "node:fs";
import type { AccountService } from "@weir/gen/weir/account/v1/account_service_pb";
import { parseKeyText } from "@weir/kit/api-key";
import type { Client } from "@weir/kit/call";
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
 * Makes the first key, of the tenant `default`, and keeps the key's text in the data folder, unless there are keys. A crash
 * between the two steps leaves an empty file behind: the next start then makes another key.
 */
export async function ensureFirstKey(accounts: Client<typeof AccountService>, folder: DataFolder): Promise<FirstKey> {
  const { keys } = await accounts.listKeys({ tenant: "" }, { timeoutMs });
  const live = new Set(keys.filter((key) => key.revokeTime === undefined).map((key) => key.name));
  const kept = readTextFile(folder.key) ?? "";
  const id = parseKeyText(kept)?.id;
  if (id !== undefined && live.has(`keys/${id}`)) return { kind: "kept", text: kept };
  const unfinished = existsSync(folder.key) && kept === "";
  if (keys.length > 0 && !unfinished) return { kind: "elsewhere" };
  writePrivateFile(folder.key, "");
  const { secret } = await accounts.createKey({ tenant: "tenants/default", displayName: "first key" }, { timeoutMs });
  writePrivateFile(folder.key, `${secret}\n`);
  return { kind: "created", text: secret };
}
