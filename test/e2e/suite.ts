import { afterAll, beforeAll, describe } from "vitest";
import type { Runner } from "../runners.ts";
import { abortCases } from "./abort-cases.ts";
import { accessCases } from "./access-cases.ts";
import { chatCases } from "./chat-cases.ts";
import { doorCases } from "./door-cases.ts";
import { failureCases } from "./failure-cases.ts";
import { moneyCases } from "./money-cases.ts";
import { responsesCases } from "./responses-cases.ts";
import { restCases } from "./rest-cases.ts";
import { createSetting } from "./setting.ts";
import type { Weir } from "./weir.ts";

/** Every end-to-end case, on one runner. */
export function suite(runner: Runner): void {
  describe(runner.name, () => {
    let running: Weir | undefined;
    let setting: Awaited<ReturnType<typeof createSetting>>;
    const weir = () => {
      if (running === undefined) throw new Error("the gateway did not start");
      return running;
    };
    beforeAll(async () => {
      setting = await createSetting();
      running = await runner.start({ config: setting.config });
    });
    afterAll(async () => {
      await running?.stop();
      await setting.close();
    });
    // Where cases do not measure time they run side by side: most of each is waiting for the ledger.
    describe.concurrent("chat", () => {
      chatCases(weir);
    });
    describe("failures", () => {
      failureCases(weir);
    });
    describe("aborts", () => {
      abortCases(weir);
    });
    describe("access", () => {
      accessCases(weir);
    });
    describe("the door", () => {
      doorCases(weir);
    });
    describe("rest", () => {
      restCases(weir);
    });
    describe.concurrent("responses", () => {
      responsesCases(weir);
    });
    describe("money", () => {
      moneyCases(weir);
    });
  });
}
