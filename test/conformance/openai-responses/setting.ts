import type { Weir } from "../../e2e/weir.ts";
import { oneProcess } from "../../runners.ts";
import { type VendorName, vendorKinds } from "../vendors/kinds.ts";
import { startVendor, type Vendor } from "../vendors/vendor.ts";

export const vendorNames = ["openai-responses", "openai-chat", "anthropic", "gemini", "ollama"] as const;

/** A whole gateway before simulated vendors, of which one speaks Responses itself. */
export interface Setting {
  readonly weir: Weir;
  vendor(name: (typeof vendorNames)[number]): Vendor;
  close(): Promise<void>;
}

/** What is kept of a response and its input, in bytes. */
export const storedBytesMax = 20_000;

/** Starts it. Aliases are `VENDOR/MODEL`, for any model. */
export async function startSetting(): Promise<Setting> {
  const vendors = new Map<VendorName, Vendor>();
  for (const name of vendorNames) vendors.set(name, await startVendor(vendorKinds[name]));
  const vendor = (name: VendorName) => {
    const found = vendors.get(name);
    if (found === undefined) throw new Error(`no vendor ${name}`);
    return found;
  };
  const weir = await oneProcess.start({
    config: () => ({
      edge: {
        requests_per_minute: 1_000_000,
        tokens_per_minute: 1_000_000_000,
        responses: { bytes_max: storedBytesMax, background_max: 4 },
      },
      discovery: { environment: false, local: false, demo: false },
      providers: Object.fromEntries(vendorNames.map((name) => [name, vendorKinds[name].config(vendor(name).url)])),
      prices: vendorNames.map((provider) => ({
        provider,
        model: "*",
        input_usd_per_million: "2",
        output_usd_per_million: "10",
      })),
      router: { attempts_max: 1 },
      aliases: Object.fromEntries(vendorNames.map((name) => [`${name}/*`, { targets: [{ provider: name }] }])),
    }),
  });
  return {
    weir,
    vendor,
    async close() {
      await weir.stop();
      for (const each of vendors.values()) await each.close();
    },
  };
}
