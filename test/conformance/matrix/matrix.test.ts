import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createCell } from "./cell.ts";
import { clientNames } from "./clients.ts";
import { expectedOf } from "./expected/outcomes.ts";
import { createFeatures, featureNames } from "./features.ts";
import { ledgerFaults } from "./ledger-faults.ts";
import { outcomeOf } from "./outcome.ts";
import { createPassed, renderPage } from "./page.ts";
import { rawCases } from "./raw/cases.ts";
import { type Setting, startSetting, vendorNames } from "./setting.ts";

const pagePath = join(import.meta.dirname, "../../../docs/dialects/matrix.md");
const writesPage = process.env["WEIR_WRITE_MATRIX"] === "1";

let setting: Setting | undefined;
beforeAll(async () => {
  setting = await startSetting();
});
afterAll(() => setting?.close());

function running(): Setting {
  if (setting === undefined) throw new Error("the gateway did not start");
  return setting;
}

const features = createFeatures(() => running().weir.ledger);
const passed = createPassed();

describe.concurrent.each(clientNames)("%s", (client) => {
  describe.each(vendorNames)("before %s", (vendor) => {
    const runnable = featureNames.filter((feature) => expectedOf(client, vendor, feature).kind !== "none");
    test.each(runnable)("%s", async (feature) => {
      const expected = expectedOf(client, vendor, feature);
      const outcome = await outcomeOf(features[feature], createCell(running(), client, vendor));
      if (expected.kind === "refused" && outcome.kind === "refused") {
        const { message, ...raised } = outcome.raised;
        expect(raised).toEqual(expected.raised);
        expect(message).toContain(expected.text);
      } else {
        expect(outcome).toEqual(expected);
      }
      passed.add(client, vendor, feature);
    });
  });
});

describe.concurrent("raw requests", () => {
  rawCases(running);
});

describe("after all that", () => {
  test("vendors got no call that is none of theirs", () => {
    for (const name of vendorNames) expect(running().vendors[name].strangers).toEqual([]);
  });

  test("the ledger has every call that vendors served, to the token, and no other", async () => {
    const { weir, vendors } = running();
    const served = vendorNames.flatMap((name) => vendors[name].served);
    expect(served.length).toBeGreaterThan(500);
    await vi.waitFor(async () => expect(ledgerFaults(await weir.ledger.rows(), served)).toEqual([]), {
      timeout: 10_000,
      interval: 250,
    });
  });

  test("the page says what was found", () => {
    const page = renderPage(passed);
    console.log(page);
    if (writesPage) writeFileSync(pagePath, page);
    expect(readFileSync(pagePath, "utf8")).toBe(page);
  });
});
