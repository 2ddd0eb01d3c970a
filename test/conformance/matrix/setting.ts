import type { Weir } from "../../e2e/weir.ts";
import { oneProcess } from "../../runners.ts";
import { type VendorName, vendorKinds } from "../vendors/kinds.ts";
import { startVendor, type Vendor } from "../vendors/vendor.ts";

/** A whole gateway before simulated vendors of every dialect. */
export interface Setting {
  readonly weir: Weir;
  readonly vendors: Readonly<Record<VendorName, Vendor>>;
  close(): Promise<void>;
}

export const vendorNames = Object.keys(vendorKinds) as VendorName[];

/** Starts it. Aliases are `VENDOR/MODEL`, for any model. */
export async function startSetting(): Promise<Setting> {
  const started = await Promise.all(vendorNames.map(async (name) => [name, await startVendor(vendorKinds[name])]));
  const vendors = Object.fromEntries(started) as Record<VendorName, Vendor>;
  const weir = await oneProcess.start({ config: () => configOf(vendors) });
  return {
    weir,
    vendors,
    async close() {
      await weir.stop();
      await Promise.all(Object.values(vendors).map((vendor) => vendor.close()));
    },
  };
}

function configOf(vendors: Readonly<Record<VendorName, Vendor>>): object {
  const each = (entry: (name: VendorName) => readonly [string, object]) => Object.fromEntries(vendorNames.map(entry));
  return {
    edge: { requests_per_minute: 1_000_000, tokens_per_minute: 1_000_000_000 },
    discovery: { environment: false, local: false, demo: false },
    providers: each((name) => [name, vendorKinds[name].config(vendors[name].url)]),
    prices: vendorNames.map((provider) => ({
      provider,
      model: "*",
      input_usd_per_million: "2.5",
      cached_input_usd_per_million: "1.25",
      cache_write_usd_per_million: "3.125",
      output_usd_per_million: "10",
    })),
    // Each failure is to be seen by the client that asked, as it came.
    router: { attempts_max: 1 },
    aliases: each((name) => [`${name}/*`, { targets: [{ provider: name }] }]),
  };
}
