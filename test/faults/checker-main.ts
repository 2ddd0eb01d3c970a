import { createCheck } from "./check.ts";

// The checker's process: `node checker-main.ts COUNT_FILE DATABASE_URL`. Each message is a tag; its answer is what was found.

const [, , countFile = "", databaseUrl = ""] = process.argv;
const check = await createCheck(countFile, databaseUrl);
process.on("message", (tag: string) => {
  check.findingOf(tag).then(
    (finding) => process.send?.({ tag, finding }),
    (error: unknown) => process.send?.({ tag, failure: String(error) }),
  );
});
process.on("disconnect", () => process.exit());
process.send?.({ ready: true });
