import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");

/** The text of a page. @param page path from the root of the repository */
export function textOf(page: string): string {
  return readFileSync(join(root, page), "utf8");
}

/** The code blocks of a page in one language, in order. */
export function blocksOf(page: string, language: string): string[] {
  return Array.from(textOf(page).matchAll(/^```(\w+)\n(.*?)^```$/gms))
    .filter(([, found]) => found === language)
    .map(([, , block = ""]) => block);
}
