import { type VendorName, vendorKinds } from "../vendors/kinds.ts";
import type { Script } from "../vendors/script.ts";
import type { Served } from "../vendors/vendor.ts";
import type { Ask, MatrixClient, Seen } from "./client.ts";
import type { Setting } from "./setting.ts";

/** A library before a vendor, with the gateway between them. */
export interface Cell {
  readonly client: MatrixClient;
  readonly vendor: VendorName;
  /** Whether the vendor speaks the library's dialect, so that bytes pass as they are. */
  readonly sameDialect: boolean;
  /** A model of the vendor's that nobody else asks for. */
  prepare(script: Script): Prepared;
}

/** A model whose answers are scripted. */
export interface Prepared {
  /** As the vendor knows it. */
  readonly model: string;
  ask(ask: Omit<Ask, "model">): Promise<Seen>;
  /** Changes what the next call gets. */
  script(script: Script): void;
  /** The calls that came to the vendor. */
  calls(): readonly Served[];
}

export function createCell({ weir, vendors }: Setting, client: MatrixClient, vendor: VendorName): Cell {
  const { codec, modelStem } = vendorKinds[vendor];
  return {
    client,
    vendor,
    sameDialect: codec.name === client.dialect,
    prepare(first) {
      modelCount += 1;
      const model = `${modelStem}-cell${modelCount}`;
      const script = (next: Script) => vendors[vendor].script(model, next);
      script(first);
      return {
        model,
        ask: (ask) => client.ask(weir, { ...ask, model: `${vendor}/${model}` }),
        script,
        calls: () => vendors[vendor].calls(model),
      };
    },
  };
}

let modelCount = 0;
