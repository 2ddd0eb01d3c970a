import type { CapabilitiesConfig } from "@weir/gen/weir/config/v1/provider_pb";
import { knownModels } from "./capabilities-known.ts";

/** What a model can take. What is absent is not known, and allowed. */
export type Capabilities = Readonly<Omit<CapabilitiesConfig, "$typeName" | "$unknown">>;

/** What the models of one provider can take. */
export interface CapabilityTable {
  /** What the configuration says. */
  declared(model: string): Capabilities;
  /** What the configuration says, else what the vendor documents. */
  known(model: string): Capabilities;
}

const nothing: Capabilities = {};

/**
 * @param origin where the provider is: what is built in holds for the vendor's own server only
 * @param config by the model's name, which may end in `*`
 */
export function createCapabilityTable(
  origin: string,
  config: Readonly<Record<string, CapabilitiesConfig>>,
): CapabilityTable {
  const builtIn = knownModels.get(origin);
  // The most specific one last, so that it goes over the others.
  const entries = Object.entries(config)
    .map(([name, capabilities]) => ({ name, isPattern: name.endsWith("*"), capabilities }))
    .toSorted((a, b) => Number(b.isPattern) - Number(a.isPattern) || a.name.length - b.name.length);

  function declared(model: string): Capabilities {
    if (entries.length === 0) return nothing;
    const fitting = entries.filter(({ name, isPattern }) =>
      isPattern ? model.startsWith(name.slice(0, -1)) : model === name,
    );
    const merged: Capabilities = Object.assign({}, ...fitting.map(({ capabilities }) => capabilities));
    return merged;
  }

  return {
    declared,
    known(model) {
      const found = builtIn?.get(model);
      return found === undefined ? declared(model) : { ...found, ...declared(model) };
    },
  };
}
