import { type Limit, type LimitAmounts, limitsOf } from "@weir/kit/limits/limit";

/** The limits of aliases, over all callers of this configuration. */
export interface AliasLimits {
  /** @param alias as a caller names it; all names that one alias with a star stands for share its limits */
  of(alias: string): readonly Limit[];
}

const none: readonly Limit[] = [];
const unlimited: AliasLimits = { of: () => none };

/** @param aliases by name, a star at the end standing for any rest; the longest name that fits holds, as in routing */
export function aliasLimits(
  aliases: Readonly<Record<string, { readonly limits?: LimitAmounts | undefined }>> = {},
): AliasLimits {
  const exact = new Map<string, readonly Limit[]>();
  const prefixes: { prefix: string; limits: readonly Limit[] }[] = [];
  for (const [alias, { limits }] of Object.entries(aliases)) {
    const all = limits === undefined ? none : limitsOf("alias", alias, limits);
    if (alias.endsWith("*")) prefixes.push({ prefix: alias.slice(0, -1), limits: all });
    else exact.set(alias, all);
  }
  prefixes.sort((a, b) => b.prefix.length - a.prefix.length);
  const isUnlimited = [...exact.values(), ...prefixes.map(({ limits }) => limits)].every(({ length }) => length === 0);
  if (isUnlimited) return unlimited;
  return {
    of: (alias) => exact.get(alias) ?? prefixes.find(({ prefix }) => alias.startsWith(prefix))?.limits ?? none,
  };
}
