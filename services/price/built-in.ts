import { nanoUsdFromText } from "./decimal.ts";
import { batchTier, createPriceList, type Price, priceId, type PriceTier, type Rates } from "./price.ts";

/** USD for a million tokens: input, cached input, output, and what vendors ask for cache writes. */
type Row = readonly [
  models: readonly string[],
  input: string,
  cachedInput: string,
  output: string,
  more?: {
    readonly cacheWrite?: string;
    readonly cacheWriteLong?: string;
    /** For the whole of an attempt with more input than so many tokens. */
    readonly above?: number;
    readonly long?: readonly [input: string, cachedInput: string, output: string];
    /** Cache writes of such attempts; default: as input. */
    readonly longCacheWrite?: readonly [cacheWrite: string, cacheWriteLong: string];
    /** Input that stood for images; default: as input. */
    readonly imageInput?: string;
    /** USD for a thousand of a unit, by the names of `Usage.serverToolUses`. */
    readonly units?: Readonly<Record<string, string>>;
  },
];

interface Sheet {
  readonly provider: string;
  /** The day on which the source said so, `YYYY-MM-DD`; the prices hold from then on. */
  readonly date: string;
  /** Begins with a public URL. */
  readonly source: string;
  readonly rows: readonly Row[];
}

// A row is never edited, since ledgers hold it under its id: a new price, or a correction, is a new row on a sheet with
// its own date. Left out on purpose: models whose cached or long-context rate has no source, those that are billed by
// the hour of the day (DeepSeek) or by kind of input (Gemini 2.5), which a price cannot say, and those whose price is
// announced to end at a day after which nobody says the whole of the next one (Gemini 3.8 Flash). Prices of any of them
// can stand in weir.yaml. Embeddings have no output, and their models no cache.
const sheets: readonly Sheet[] = [
  {
    provider: "openai",
    date: "2026-03-21",
    source:
      "https://deploybase.ai/articles/openai-pricing (from OpenAI's page, March 2026); cached input: https://github.com/simonw/llm-prices/blob/0838d1aca5cc5cb2b5f61cc551adb09e517a0da7/data/openai.json",
    rows: [
      [["gpt-5"], "1.25", "0.125", "10"],
      [["gpt-5-mini"], "0.25", "0.025", "2"],
      [["gpt-5-nano"], "0.05", "0.005", "0.40"],
      [["gpt-5.1"], "1.25", "0.125", "10"],
      [["gpt-4.1", "gpt-4.1-2025-04-14"], "2", "0.50", "8"],
      [["gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"], "0.40", "0.10", "1.60"],
      [["gpt-4.1-nano", "gpt-4.1-nano-2025-04-14"], "0.10", "0.025", "0.40"],
      [["gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"], "2.50", "1.25", "10"],
      [["gpt-4o-mini", "gpt-4o-mini-2024-07-18"], "0.15", "0.075", "0.60"],
      [["o3-mini", "o3-mini-2025-01-31"], "1.10", "0.55", "4.40"],
      [["o4-mini", "o4-mini-2025-04-16"], "1.10", "0.275", "4.40"],
    ],
  },
  {
    provider: "openai",
    date: "2026-06-30",
    source:
      "https://www.morphllm.com/openai-api-pricing (from OpenAI's page, June 2026); long context: https://github.com/simonw/llm-prices/blob/0838d1aca5cc5cb2b5f61cc551adb09e517a0da7/data/openai.json",
    rows: [
      [["gpt-5.5"], "5", "0.50", "30", { above: 272_000, long: ["10", "1", "45"] }],
      [["gpt-5.4"], "2.50", "0.25", "15", { above: 272_000, long: ["5", "0.50", "22.50"] }],
      [["gpt-5.4-mini"], "0.75", "0.075", "4.50"],
      [["gpt-5.4-nano"], "0.20", "0.02", "1.25"],
    ],
  },
  {
    provider: "openai",
    date: "2026-04-29",
    source: "https://tokenmix.ai/blog/openai-embedding-pricing (verified against OpenAI's pages)",
    rows: [
      [["text-embedding-3-small"], "0.02", "0.02", "0"],
      [["text-embedding-3-large"], "0.13", "0.13", "0"],
      [["text-embedding-ada-002"], "0.10", "0.10", "0"],
    ],
  },
  {
    provider: "openai",
    date: "2025-05-20",
    source: "https://findllms.com/llms/gpt-image-1 (OpenAI's rates for text and images of that day)",
    rows: [[["gpt-image-1"], "5", "1.25", "40", { imageInput: "10" }]],
  },
  {
    provider: "openai",
    date: "2025-11-02",
    source:
      "https://raw.githubusercontent.com/sanand0/blog/main/posts/2025/openai-tts-cost.md (what OpenAI billed for counted characters)",
    rows: [[["tts-1"], "0", "0", "0", { units: { characters: "0.015" } }]],
  },
  {
    provider: "openai",
    date: "2026-04-27",
    source: "https://openrouter.ai/openai/whisper-1/api (0.006 USD for a minute, billed by the second)",
    rows: [[["whisper-1"], "0", "0", "0", { units: { audio_seconds: "0.10" } }]],
  },
  {
    provider: "openai",
    date: "2026-09-22",
    source:
      "https://github.com/merefield/codexometer/releases/tag/v0.18.4 (from OpenAI's page of that day); long context: https://github.com/BerriAI/litellm/discussions/42523",
    rows: [
      [
        ["gpt-6-sol"],
        "2",
        "0.20",
        "10",
        { cacheWrite: "2.50", above: 272_000, long: ["4", "0.40", "15"], longCacheWrite: ["5", "5"] },
      ],
      [
        ["gpt-6-luna"],
        "0.10",
        "0.01",
        "0.50",
        { cacheWrite: "0.125", above: 272_000, long: ["0.20", "0.02", "0.75"], longCacheWrite: ["0.25", "0.25"] },
      ],
    ],
  },
  {
    provider: "openai",
    date: "2026-09-30",
    source:
      "https://github.com/amine123max/Codex-Manager/releases/tag/0.4.7 (from https://developers.openai.com/api/docs/models/gpt-6.1-sol); cache writes: https://github.com/TheKrush/PromptFuel/releases/tag/v1.0.22, of long contexts: https://docs.laozhang.ai/announcements/gpt-6-1-sol-2026-10",
    rows: [
      [
        ["gpt-6.1-sol", "gpt-6.1-sol-2026-09-29"],
        "2",
        "0.10",
        "10",
        { cacheWrite: "2.50", above: 272_000, long: ["4", "0.20", "15"], longCacheWrite: ["5", "5"] },
      ],
    ],
  },
  {
    provider: "openai",
    date: "2026-09-30",
    source: "https://github.com/uttamdeb/agent-telemetry/releases/tag/v1.6.6 (OpenAI's rates, corrected on that day)",
    rows: [[["gpt-5.2", "gpt-5.3-codex"], "1.75", "0.175", "14"]],
  },
  {
    provider: "anthropic",
    date: "2026-09-28",
    source:
      "https://github.com/TheKrush/PromptFuel/releases/tag/v1.0.22 (from Anthropic's pages, in force from that day)",
    rows: [[["claude-sonnet-5-5"], "2", "0.20", "10", { cacheWrite: "2.50", cacheWriteLong: "4" }]],
  },
  {
    provider: "anthropic",
    date: "2026-10-07",
    source:
      "https://github.com/kurofune/claudit/releases/tag/v1.9.2 (from Anthropic's page, 2026-10-24); in force from that day: https://github.com/TheKrush/PromptFuel/releases/tag/v1.0.23",
    rows: [
      [["claude-sonnet-5-5"], "2", "0.10", "10", { cacheWrite: "2.50", cacheWriteLong: "4" }],
      [
        ["claude-haiku-5-5"],
        "0.10",
        "0.01",
        "0.50",
        {
          cacheWrite: "0.125",
          cacheWriteLong: "0.20",
          above: 100_000,
          long: ["0.50", "0.05", "2.50"],
          longCacheWrite: ["0.625", "1"],
        },
      ],
    ],
  },
  {
    provider: "anthropic",
    date: "2026-10-10",
    source:
      "https://platform.claude.com/docs/en/about-claude/pricing (checked 2026-10-10 by https://docs.rs/synaps/0.10.2/synaps_cli/pricing/); one price for every length: https://platform.claude.com/docs/en/models/sonnet-4-6/overview",
    rows: [
      [["claude-sonnet-4-6", "claude-sonnet-4-5*"], "3", "0.30", "15", { cacheWrite: "3.75", cacheWriteLong: "6" }],
    ],
  },
  {
    provider: "anthropic",
    date: "2026-10-10",
    source:
      "https://platform.claude.com/docs/en/about-claude/pricing (checked 2026-10-10 by https://docs.rs/synaps/0.10.2/synaps_cli/pricing/)",
    rows: [
      [["claude-fable-5-1"], "10", "0.25", "50", { cacheWrite: "12.50", cacheWriteLong: "20" }],
      [["claude-fable-5"], "10", "1", "50", { cacheWrite: "12.50", cacheWriteLong: "20" }],
      [["claude-opus-5-5"], "4", "0.20", "20", { cacheWrite: "5", cacheWriteLong: "8" }],
      [
        ["claude-opus-5", "claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-5*"],
        "5",
        "0.50",
        "25",
        { cacheWrite: "6.25", cacheWriteLong: "10" },
      ],
      [["claude-sonnet-5"], "2", "0.20", "10", { cacheWrite: "2.50", cacheWriteLong: "4" }],
      [["claude-haiku-4-5*"], "1", "0.10", "5", { cacheWrite: "1.25", cacheWriteLong: "2" }],
    ],
  },
  {
    provider: "google",
    date: "2026-10-07",
    source:
      "https://ai.google.dev/gemini-api/docs/pricing (read 2026-10-07 by https://github.com/api-evangelist/deepmind); cached input: https://github.com/github/docs/blob/024f6b0f8c266054134f13dd7d122d8b80d25315/data/tables/copilot/models-and-pricing.yml",
    rows: [
      [["gemini-3.1-pro-preview"], "2", "0.20", "12", { above: 200_000, long: ["4", "0.40", "18"] }],
      [["gemini-3.5-flash"], "1.50", "0.15", "9"],
    ],
  },
  {
    provider: "google",
    date: "2026-04-25",
    source:
      "https://tokenmix.ai/blog/gemini-embedding-001-dimensions-pricing-guide-2026 (verified against Google's documentation)",
    rows: [[["gemini-embedding-001"], "0.15", "0.15", "0"]],
  },
  {
    provider: "mistral",
    date: "2026-08-24",
    source:
      "https://mistral.ai/pricing/api (checked 2026-08-24 by https://github.com/pydantic/genai-prices/blob/03c250d316ce597028bad0954f3ad3fb4f45b0f1/prices/providers/mistral.yml)",
    rows: [
      [["mistral-medium-latest", "mistral-medium-3-5"], "1.50", "0.15", "7.50"],
      [["mistral-medium-2505", "mistral-medium-2508"], "0.40", "0.04", "2"],
      [["ministral-8b-latest", "ministral-8b-2512"], "0.15", "0.015", "0.15"],
    ],
  },
  {
    provider: "mistral",
    date: "2025-07-04",
    source:
      "https://mistral.ai/pricing/ (checked 2025-07-04 by https://github.com/pydantic/genai-prices/blob/fde84f4444033b2de72027a001672b06fb939828/prices/providers/mistral.yml)",
    rows: [
      [["codestral-latest", "codestral-2501"], "0.30", "0.30", "0.90"],
      [["mistral-large-2407", "mistral-large-2411"], "2", "2", "6"],
    ],
  },
  {
    provider: "groq",
    date: "2025-01-31",
    source:
      "https://huggingface.co/spaces/victor/inference-metrics/blame/main/providers/static-pricing.ts (from Groq's page, January 2025)",
    rows: [
      [["llama-3.3-70b-versatile"], "0.59", "0.59", "0.79"],
      [["llama-3.1-8b-instant"], "0.05", "0.05", "0.08"],
    ],
  },
  {
    provider: "together",
    date: "2025-07-03",
    source:
      "https://www.together.ai/pricing (checked 2025-07-03 by https://github.com/pydantic/genai-prices/blob/29eac95f137e767d1251d6099c99e9583d5fc8c7/prices/providers/together.yml)",
    rows: [
      [["meta-llama/Llama-3.3-70B-Instruct-Turbo"], "0.88", "0.88", "0.88"],
      [["meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"], "0.27", "0.27", "0.85"],
      [["meta-llama/Llama-4-Scout-17B-16E-Instruct"], "0.18", "0.18", "0.59"],
    ],
  },
];

const nothing: Rates = { input: 0n, cachedInput: 0n, cacheWrite: 0n, output: 0n };

/** Models that run on the operator's own machine, or nowhere: they bill nothing. */
const free: readonly Price[] = ["demo", "ollama", "vllm"].map((provider) => freePrice(provider, ""));

/**
 * The price of providers whose models run in Weir's own process, whatever their id: nothing. Its id differs from that of a
 * price in weir.yaml, so that an id that was another kind's before keeps what it cost.
 */
export function localPrice(provider: string): Price {
  return freePrice(provider, "+local");
}

function freePrice(provider: string, mark: string): Price {
  const named = { provider, model: "*", effectiveTime: undefined };
  return { id: `${priceId(named)}${mark}`, ...named, nanoUsdPerMillion: nothing, source: "no vendor bills it" };
}

/** From when models of a provider cost half of what they cost then, in batches. */
interface HalfInBatches {
  readonly provider: string;
  /** Undefined: all that are billed by tokens. */
  readonly models?: readonly string[];
  readonly date: string;
  readonly source: string;
}

const openaiPlans =
  "https://github.com/api-evangelist/openai/blob/main/plans/openai-plans-pricing.yml (OpenAI's page: every model costs half through the Batch API)";

const halfInBatches: readonly HalfInBatches[] = [
  { provider: "openai", date: "2026-08-27", source: openaiPlans },
  {
    provider: "openai",
    models: ["gpt-6-sol", "gpt-6-luna", "gpt-6.1-sol", "gpt-6.1-sol-2026-09-29"],
    date: "2026-11-21",
    source:
      "https://developers.openai.com/docs/models/gpt-6-sol (Batch and Flex at 50% of Standard; so say https://developers.openai.com/ja-JP/api/docs/models/gpt-6-luna and https://www.w3cschool.cn/openai_api/openai-api-docs-gpt-6-1-sol.html)",
  },
  // Their prices were corrected after it was said.
  { provider: "openai", models: ["gpt-5.2", "gpt-5.3-codex"], date: "2026-11-21", source: openaiPlans },
];

const listed: readonly Price[] = sheets.flatMap(pricesOf);

/** Prices of well-known models, each from the day on which its source said so. */
export const builtInPrices: readonly Price[] = [
  ...free,
  ...listed,
  ...halfInBatches.flatMap((half) => withBatches(listed, half)),
];

/** The prices that held on the day when it was said what batches cost, with that. */
function withBatches(prices: readonly Price[], { provider, models, date, source }: HalfInBatches): Price[] {
  const effectiveTime = Date.parse(date);
  const list = createPriceList(prices.filter((price) => price.provider === provider));
  return [...new Set(models ?? list.prices.map(({ model }) => model))].flatMap((model) => {
    const price = list.find({ provider, model }, effectiveTime);
    if (price === undefined || price.nanoUsdPerThousandUses !== undefined) return [];
    const { nanoUsdPerMillion, tiers = [] } = price;
    const batch = { serviceTier: batchTier, inputTokensAbove: 0, nanoUsdPerMillion: halved(nanoUsdPerMillion) };
    const named = { ...price, effectiveTime };
    return {
      ...named,
      id: priceId(named),
      tiers: [...tiers, batch],
      source: `${price.source}; batches: ${source}, ${date}`,
    };
  });
}

/** Every rate has an even number of nano-USD for a million. */
function halved(rates: Rates): Rates {
  const halves = Object.entries(rates).map(([name, rate]: [string, bigint | undefined]) => [name, rate && rate / 2n]);
  return Object.fromEntries(halves) as Rates;
}

function pricesOf({ provider, date, source, rows }: Sheet): Price[] {
  return rows.flatMap(([models, input, cachedInput, output, more]) =>
    models.map((model) => {
      const named = { provider, model, effectiveTime: Date.parse(date) };
      return {
        id: priceId(named),
        ...named,
        nanoUsdPerMillion: {
          input: nanoUsdFromText(input),
          cachedInput: nanoUsdFromText(cachedInput),
          cacheWrite: nanoUsdFromText(more?.cacheWrite ?? input),
          cacheWriteLong: nanoUsdFromText(more?.cacheWriteLong ?? more?.cacheWrite ?? input),
          ...(more?.imageInput === undefined ? {} : { imageInput: nanoUsdFromText(more.imageInput) }),
          output: nanoUsdFromText(output),
        },
        ...(more?.units === undefined ? {} : { nanoUsdPerThousandUses: unitFees(more.units) }),
        tiers: more?.above && more.long ? [longTier(more.above, more.long, more.longCacheWrite)] : undefined,
        source: `${source}, ${date}`,
      };
    }),
  );
}

function unitFees(units: Readonly<Record<string, string>>): Record<string, bigint> {
  return Object.fromEntries(Object.entries(units).map(([unit, usd]) => [unit, nanoUsdFromText(usd)]));
}

function longTier(
  above: number,
  [input, cachedInput, output]: readonly [string, string, string],
  cacheWrites: readonly [cacheWrite: string, cacheWriteLong: string] | undefined,
): PriceTier {
  return {
    serviceTier: "",
    inputTokensAbove: above,
    nanoUsdPerMillion: {
      input: nanoUsdFromText(input),
      cachedInput: nanoUsdFromText(cachedInput),
      cacheWrite: nanoUsdFromText(cacheWrites?.[0] ?? input),
      ...(cacheWrites === undefined ? {} : { cacheWriteLong: nanoUsdFromText(cacheWrites[1]) }),
      output: nanoUsdFromText(output),
    },
  };
}
