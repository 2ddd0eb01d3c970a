import { type VendorName, vendorKinds } from "../vendors/kinds.ts";
import type { Script } from "../vendors/script.ts";
import type { Served } from "../vendors/vendor.ts";
import type { Ask, MatrixClient, Raised, Seen } from "./client.ts";
import { type ClientName, clients } from "./clients.ts";
import { Refused } from "./outcome.ts";
import type { Setting } from "./setting.ts";

/** A library before a vendor, with the gateway between them. */
export interface Cell {
  readonly name: ClientName;
  readonly client: MatrixClient;
  readonly vendor: VendorName;
  /** Whether the vendor speaks the library's dialect, so that bytes pass as they are. */
  readonly sameDialect: boolean;
  /** A model of the vendor's that nobody else asks for. */
  prepare(script: Script): Prepared;
}

/** A model whose answers are scripted. */
export interface Prepared {
  /** @throws Refused when the library raises what no vendor was asked for; else what the library raises */
  ask(ask: Omit<Ask, "model">): Promise<Seen>;
  /** Asks for what must fail. @throws Error when the library raises nothing */
  fail(ask: Omit<Ask, "model">): Promise<Raised>;
  /** Changes what the next call gets. */
  script(script: Script): void;
  /** The calls that came to the vendor. */
  calls(): readonly Served[];
}

export function createCell({ weir, vendors }: Setting, name: ClientName, vendor: VendorName): Cell {
  const client: MatrixClient = clients[name];
  const { codec, modelStem } = vendorKinds[vendor];
  return {
    name,
    client,
    vendor,
    sameDialect: codec.name === client.dialect,
    prepare(first) {
      modelCount += 1;
      const model = `${modelStem}-cell${modelCount}`;
      const script = (next: Script) => vendors[vendor].script(model, next);
      const calls = () => vendors[vendor].calls(model);
      const start = (ask: Omit<Ask, "model">) => client.ask(weir, { ...ask, model: `${vendor}/${model}` });
      script(first);
      return {
        async ask(ask) {
          const before = calls().length;
          try {
            return await start(ask);
          } catch (error) {
            throw calls().length === before ? new Refused(client.raised(error)) : error;
          }
        },
        async fail(ask) {
          const raised = await start(ask).then(
            () => undefined,
            (error: unknown) => client.raised(error),
          );
          if (raised === undefined) throw new Error("the library raised nothing");
          return raised;
        },
        script,
        calls,
      };
    },
  };
}

let modelCount = 0;
