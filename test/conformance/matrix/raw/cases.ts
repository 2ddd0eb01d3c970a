import { expect, test } from "vitest";
import { vendorKinds } from "../../vendors/kinds.ts";
import type { Door } from "../client.ts";
import { type Setting, vendorNames } from "../setting.ts";
import { textReply } from "../speech.ts";
import { fromAnthropic } from "./from-anthropic.ts";
import { fromOpenai } from "./from-openai.ts";
import { askWithAnthropic, askWithOpenai } from "./scenario.ts";

const clients = [
  ["openai", askWithOpenai, fromOpenai],
  ["@anthropic-ai/sdk", askWithAnthropic, fromAnthropic],
] as const;

/** What vendors receive, held against JSON that was written by hand from their references. */
export function rawCases(running: () => Setting): void {
  test.each(
    clients.flatMap(([name, ask, expected]) => vendorNames.map((vendor) => [name, vendor, ask, expected] as const)),
  )(
    "%s: what %s receives of a rich request",
    async (name, vendor, ask: (door: Door, model: string) => Promise<Headers>, expected) => {
      const { weir, vendors } = running();
      const model = `${vendorKinds[vendor].modelStem}-raw-${name.replaceAll(/\W/g, "")}`;
      vendors[vendor].script(model, { kind: "answer", events: textReply() });
      const headers = await ask(weir, `${vendor}/${model}`);
      const { body, warnings } = expected[vendor];
      const [call] = vendors[vendor].calls(model);
      const inPath = vendorKinds[vendor].readPath(call?.path ?? "")?.model !== undefined;
      expect(JSON.parse(call?.body ?? "")).toEqual(inPath ? body : { model, ...body });
      const told = (headers.get("x-weir-warnings") ?? "").split(", ").filter((warning) => warning !== "");
      expect(told.toSorted()).toEqual(warnings);
    },
  );
}
