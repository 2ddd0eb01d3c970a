import type { Weir } from "../../e2e/weir.ts";
import { oneProcess } from "../../runners.ts";
import { type EmbeddingVendor, geminiVendor, ollamaVendor, openaiVendor, startVendor, vendorKey } from "./vendors.ts";

/** A whole gateway before model servers that make embeddings. */
export interface Setting {
  readonly weir: Weir;
  readonly vendors: Readonly<Record<VendorName, EmbeddingVendor>>;
  close(): Promise<void>;
}

export const vendorNames = ["openai", "plain", "gemini", "ollama"] as const;
export type VendorName = (typeof vendorNames)[number];

/** The provider whose small calls are joined; its vendor is `openai`. */
export const joining = "joining";
export const joinedInputsMax = 5;

const providers: readonly string[] = [...vendorNames, joining];

/** Starts it. Aliases are `PROVIDER/MODEL`, for any model. */
export async function startSetting(): Promise<Setting> {
  const vendors = {
    openai: await startVendor("authorization", openaiVendor(true)),
    // Many servers that are compatible with OpenAI send numbers whatever is asked for.
    plain: await startVendor("authorization", openaiVendor(false)),
    gemini: await startVendor("x-goog-api-key", geminiVendor),
    ollama: await startVendor("authorization", ollamaVendor),
  };
  const api_key = vendorKey;
  const config = {
    discovery: { environment: false, local: false, demo: false },
    providers: {
      openai: { kind: "openai", base_url: `${vendors.openai.url}/v1`, api_key },
      plain: { kind: "openai", base_url: `${vendors.plain.url}/v1`, api_key },
      gemini: { kind: "gemini", base_url: `${vendors.gemini.url}/v1beta`, api_key },
      ollama: { kind: "ollama", base_url: vendors.ollama.url, api_key },
      [joining]: {
        kind: "openai",
        base_url: `${vendors.openai.url}/v1`,
        api_key,
        embedding_batch: { wait: "1s", inputs_max: joinedInputsMax },
      },
    },
    prices: providers.map((provider) => ({
      provider,
      model: "*",
      input_usd_per_million: "2",
      output_usd_per_million: "10",
    })),
    router: { attempts_max: 1 },
    aliases: Object.fromEntries(providers.map((name) => [`${name}/*`, { targets: [{ provider: name }] }])),
  };
  const weir = await oneProcess.start({ config: () => config });
  return {
    weir,
    vendors,
    async close() {
      await weir.stop();
      for (const vendor of Object.values(vendors)) await vendor.close();
    },
  };
}
