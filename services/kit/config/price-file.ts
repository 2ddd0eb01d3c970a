import { fromJson } from "@bufbuild/protobuf";
import { type PriceConfig, type PriceFile, PriceFileSchema } from "@weir/gen/weir/config/v1/price_pb";
import type { ConfigFault } from "./fault.ts";
import { readMessage } from "./read-message.ts";
import { parseYaml } from "./yaml-text.ts";

/** Prices and what cannot be read of them, with paths as in weir.yaml: `prices[0].model`. */
export interface PricesRead {
  readonly prices: readonly PriceConfig[];
  readonly faults: readonly ConfigFault[];
}

/** Reads a file of `price_files`: YAML or JSON. Nothing in it is replaced: prices are no secrets. */
export function parsePriceFile(text: string): PricesRead {
  const { value, faults } = parseYaml(text);
  return faults.length > 0 ? { prices: [], faults } : readPrices(value ?? {});
}

/** Reads plain values in the form of such a file. The rules of single fields are not checked yet. */
export function readPrices(value: unknown): PricesRead {
  const read = readMessage(PriceFileSchema, value);
  const file: PriceFile = fromJson(PriceFileSchema, read.json);
  return { prices: file.prices, faults: read.faults };
}

/** The prices of several files behind those of weir.yaml, and where each of them stands. */
export interface JoinedPrices extends PricesRead {
  /** The path to show for one of the joined list: `prices[7].model` -> `price_files[0]: prices[2].model`. */
  placed(path: string): string;
}

/** @param readFile throws errors of the file system */
export function joinPriceFiles(
  own: readonly PriceConfig[],
  files: readonly string[],
  readFile: (path: string) => string,
): JoinedPrices {
  const prices = [...own];
  const faults: ConfigFault[] = [];
  const places: string[] = [];
  for (const [index, file] of files.entries()) {
    const at = `price_files[${index}]`;
    const read = readOne(file, readFile);
    faults.push(...read.faults.map(({ path, text }) => ({ path: path === "" ? at : `${at}: ${path}`, text })));
    for (const [number, price] of read.prices.entries()) {
      if (price.source === "") price.source = file;
      prices.push(price);
      places.push(`${at}: prices[${number}]`);
    }
  }
  return {
    prices,
    faults,
    placed: (path) =>
      path.replace(/^prices\[(\d+)\]/, (whole, index: string) => places[Number(index) - own.length] ?? whole),
  };
}

function readOne(file: string, readFile: (path: string) => string): PricesRead {
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    return { prices: [], faults: [{ path: "", text: `the file ${file} cannot be read${code}` }] };
  }
  return parsePriceFile(text);
}
