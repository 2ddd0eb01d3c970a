import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCell } from "./cell.ts";
import { clientNames, clients } from "./clients.ts";
import { features } from "./features.ts";
import { type Setting, startSetting, vendorNames } from "./setting.ts";

let setting: Setting | undefined;
beforeAll(async () => {
  setting = await startSetting();
});
afterAll(() => setting?.close());

function running(): Setting {
  if (setting === undefined) throw new Error("the gateway did not start");
  return setting;
}

const featureNames = Object.keys(features) as (keyof typeof features)[];

describe.concurrent.each(clientNames)("%s", (clientName) => {
  describe.each(vendorNames)("before %s", (vendorName) => {
    test.each(featureNames)("%s", async (featureName) => {
      await features[featureName](createCell(running(), clients[clientName], vendorName), "");
    });
  });
});

test("vendors got no call that is none of theirs", () => {
  for (const name of vendorNames) expect(running().vendors[name].strangers).toEqual([]);
});
