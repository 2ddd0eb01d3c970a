/** A price under the names of weir.yaml, as yet unchecked. */
export interface DraftPrice {
  readonly [name: string]: unknown;
  readonly tiers?: readonly Readonly<Record<string, unknown>>[];
}

/** What is known of the entries of a list that does not say it itself. */
export interface ImportDefaults {
  /** `YYYY-MM-DD` or an instant; undefined: not said. */
  readonly effectiveTime: string | undefined;
}

/** A list that is not in its form. */
export class ImportError extends Error {
  override readonly name = "ImportError";
}

/** Columns of a CSV list: names of a price in weir.yaml, and of one of its tiers. */
const rateColumns = [
  "input_usd_per_million",
  "output_usd_per_million",
  "cached_input_usd_per_million",
  "cache_write_usd_per_million",
  "cache_write_long_usd_per_million",
  "audio_input_usd_per_million",
  "image_input_usd_per_million",
  "audio_output_usd_per_million",
  "image_output_usd_per_million",
] as const;
const columns: ReadonlySet<string> = new Set([
  "provider",
  "model",
  "effective_time",
  "source",
  "service_tier",
  "input_tokens_above",
  ...rateColumns,
]);

/**
 * Reads prices from CSV (RFC 4180) with a line of names first. A row with a `service_tier` or `input_tokens_above` is a
 * tier of the price that stands before it with the same provider, model and effective time.
 * @throws ImportError
 */
export function draftsFromCsv(text: string, defaults: ImportDefaults): DraftPrice[] {
  const [names, ...lines] = csvRows(text);
  if (names === undefined) throw new ImportError("the list is empty");
  const strange = names.find((name) => !columns.has(name));
  if (strange === "currency") throw notInUsd();
  if (strange !== undefined) throw new ImportError(`there is no column ${strange}; known: ${[...columns].join(", ")}`);
  const drafts: (DraftPrice & { tiers: Record<string, unknown>[] })[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.length !== names.length) throw new ImportError(`row ${index + 2} has another number of columns`);
    const row = Object.fromEntries(names.map((name, at) => [name, line[at] ?? ""]).filter(([, value]) => value !== ""));
    const { service_tier: tier, input_tokens_above: above, provider, model, source, ...rest } = row;
    const time = rest["effective_time"] ?? defaults.effectiveTime;
    const named = { provider, model, ...(time === undefined ? {} : { effective_time: time }) };
    const rates = Object.fromEntries(
      rateColumns.flatMap((name) => (row[name] === undefined ? [] : [[name, row[name]]])),
    );
    if (tier === undefined && above === undefined) {
      drafts.push({ ...named, ...rates, ...(source === undefined ? {} : { source }), tiers: [] });
      continue;
    }
    const whole = drafts.find(
      (draft) => draft["provider"] === provider && draft["model"] === model && draft["effective_time"] === time,
    );
    if (whole === undefined)
      throw new ImportError(`row ${index + 2} is a tier, and its price does not stand before it`);
    whole.tiers.push({
      ...rates,
      ...(tier === undefined ? {} : { service_tier: tier }),
      ...(above === undefined ? {} : { input_tokens_above: above }),
    });
  }
  return drafts;
}

/** @param value a list, or an entry of one @throws ImportError when it says another currency than USD */
export function refuseCurrency(value: object): void {
  const currency = memberOf(value, "currency");
  if (currency !== undefined && currency !== "USD") throw notInUsd();
}

function notInUsd(): ImportError {
  return new ImportError("amounts are USD: convert them, and leave `currency` out");
}

/** Cells of CSV (RFC 4180), without the empty lines. @throws ImportError */
export function csvRows(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y;
  const body = text.startsWith("\ufeff") ? text.slice(1) : text;
  while (cell.lastIndex < body.length) {
    const match = cell.exec(body);
    if (match === null) throw new ImportError(`row ${rows.length + 1} is not CSV: a quote stands where none may`);
    row.push((match[1]?.replaceAll('""', '"') ?? match[2] ?? "").trim());
    if (match[3] === ",") {
      if (cell.lastIndex === body.length) row.push("");
      else continue;
    }
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

/** Rates of LiteLLM's list by ours: USD for one token. */
const liteLlmRates = [
  ["input_usd_per_million", "input_cost_per_token"],
  ["output_usd_per_million", "output_cost_per_token"],
  ["cached_input_usd_per_million", "cache_read_input_token_cost"],
  ["cache_write_usd_per_million", "cache_creation_input_token_cost"],
] as const;
const liteLlmOthers = [
  ["cache_write_long_usd_per_million", "cache_creation_input_token_cost_above_1hr"],
  ["audio_input_usd_per_million", "input_cost_per_audio_token"],
  ["audio_output_usd_per_million", "output_cost_per_audio_token"],
] as const;
const liteLlmServiceTiers = [
  ["flex", "_flex"],
  ["priority", "_priority"],
  ["batch", "_batches"],
] as const;

/**
 * Reads prices from LiteLLM's list of models (`model_prices_and_context_window.json`). Entries that are not billed by
 * tokens of text are left out. https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json
 * @param value the parsed JSON
 * @throws ImportError
 */
export function draftsFromLiteLlm(value: object, defaults: ImportDefaults): DraftPrice[] {
  return Object.entries(value).flatMap(([name, entry]: [string, unknown]) => {
    if (name === "sample_spec" || typeof entry !== "object" || entry === null) return [];
    refuseCurrency(entry);
    const rates = (suffix: string) => ratesOf(entry, liteLlmRates, suffix);
    const standard = rates("");
    const provider = memberOf(entry, "litellm_provider");
    if (typeof provider !== "string" || !("input_usd_per_million" in standard)) return [];
    const whole = { output_usd_per_million: "0", ...standard };
    const steps = Object.keys(entry).flatMap((key) => {
      const [, thousands] = /^input_cost_per_token_above_(\d+)k_tokens$/.exec(key) ?? [];
      if (thousands === undefined) return [];
      return [{ input_tokens_above: Number(thousands) * 1_000, ...whole, ...rates(`_above_${thousands}k_tokens`) }];
    });
    const tiers = liteLlmServiceTiers.flatMap(([tier, suffix]) => {
      const own = rates(suffix);
      return "input_usd_per_million" in own ? [{ service_tier: tier, ...whole, ...own }] : [];
    });
    return [
      {
        provider,
        model: name.startsWith(`${provider}/`) ? name.slice(provider.length + 1) : name,
        ...(defaults.effectiveTime === undefined ? {} : { effective_time: defaults.effectiveTime }),
        ...whole,
        ...ratesOf(entry, liteLlmOthers, ""),
        ...(steps.length + tiers.length === 0 ? {} : { tiers: [...steps, ...tiers] }),
      },
    ];
  });
}

function ratesOf(
  entry: object,
  names: readonly (readonly [string, string])[],
  suffix: string,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    names.flatMap(([ours, theirs]) => {
      const usd = memberOf(entry, `${theirs}${suffix}`);
      return typeof usd === "number" && usd >= 0 ? [[ours, perMillion(usd)]] : [];
    }),
  );
}

function memberOf(value: object, name: string): unknown {
  return Object.hasOwn(value, name) ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

/**
 * USD for one token as USD for a million, by the digits of the number as it is written: `1.25e-6` is `1.25`.
 * @throws ImportError for what needs more than nine decimals
 */
function perMillion(usd: number): string {
  const [digits = "0", exponent = "0"] = usd.toExponential().split("e");
  const places = 6 + Number(exponent);
  const plain = digits.replace(".", "");
  const padded = places < 0 ? "0".repeat(-places) + plain : plain.padEnd(places + 1, "0");
  const whole = padded.slice(0, Math.max(1, places + 1));
  const rest = padded.slice(Math.max(1, places + 1)).replace(/0+$/, "");
  if (rest.length > 9 || whole.length > 9) throw new ImportError("a price has more digits than can be kept");
  return rest === "" ? whole : `${whole}.${rest}`;
}
