import { createHash } from "node:crypto";

const prefix = "jwt-";

/**
 * What stands for the caller of a JSON Web Token wherever keys are named by their ids: in principals, the ledger, the audit log and
 * budgets. The same for every token of one subject of one issuer; 36 characters, and no id of a key, which has no hyphen.
 */
export function tokenKey(issuer: string, subject: string): string {
  return prefix + createHash("sha256").update(`${issuer}\n${subject}`).digest("hex").slice(0, 32);
}

/** What edges of the version before said of all callers with tokens: whose they are cannot be told. */
export const anyToken = "jwt";

/** Whether a principal's key stands for the caller of a token. */
export function isTokenKey(key: string): boolean {
  return key === anyToken || key.startsWith(prefix);
}
