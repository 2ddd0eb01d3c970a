import type { Route } from "@weir/gen/weir/routing/v1/route_service_pb";
import { demoProvider } from "@weir/kit/config/vendors";
import type { FirstKey } from "./first-key.ts";

/** What a person needs to know of a gateway that just started. */
export interface Welcome {
  /** Base URL of the edge, without `/v1`. */
  readonly url: string;
  /** Where gRPC is answered; undefined: nowhere. */
  readonly grpc: string | undefined;
  readonly key: FirstKey;
  /** Path of the key's file. */
  readonly keyPath: string;
  /** A model that answers; undefined when there is none. */
  readonly model: string | undefined;
  /** Why each provider is there, by id. */
  readonly providers: ReadonlyMap<string, string>;
  /** The command line before the arguments: `npm run weir --`. */
  readonly command: string;
}

/** A good first model: the demo's, else a small one that is well known, else any. */
export function pickModel(routes: readonly Route[]): string | undefined {
  const plain = routes.filter((route) => !route.alias.endsWith("*"));
  const demo = plain.filter((route) => route.targets[0]?.provider === demoProvider);
  const small = plain.filter((route) => /(mini|small|flash|haiku|instant|nano|:1b|:3b|8b)/.test(route.alias));
  const shortest = (some: readonly Route[]) =>
    some.map((route) => route.alias).toSorted((a, b) => a.length - b.length)[0];
  return shortest(demo) ?? shortest(small) ?? shortest(plain);
}

/** The text that `weir start` and `weir mesh` end with. */
export function welcomeText(welcome: Welcome): string {
  const { url, grpc, key, keyPath, model, providers, command } = welcome;
  const lines = ["", `Weir answers at ${url}/v1`, ""];
  switch (key.kind) {
    case "created":
      lines.push(`  your key   ${key.text}`, `             kept in ${keyPath}`);
      break;
    case "kept":
      lines.push(`  your key   in ${keyPath}`);
      break;
    case "elsewhere":
      lines.push(`  your key   is not in ${keyPath}; make one with: ${command} keys create`);
      break;
  }
  if (grpc !== undefined) lines.push(`  gRPC       at ${grpc}`);
  lines.push("", "  providers");
  for (const [id, reason] of providers) lines.push(`    ${id.padEnd(12)} ${reason}`);
  if (providers.size === 0)
    lines.push("    none; set OPENAI_API_KEY or another vendor's key, or name one in weir.yaml");
  const auth = key.kind === "created" ? key.text : key.kind === "kept" ? `$(cat ${shellText(keyPath)})` : "$WEIR_KEY";
  lines.push("", "Try it:", "");
  if (model === undefined) lines.push(`  curl ${url}/v1/models -H "Authorization: Bearer ${auth}"`);
  else {
    const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
    lines.push(
      `  curl ${url}/v1/chat/completions -H "Authorization: Bearer ${auth}" -H 'Content-Type: application/json' -d ${shellText(body)}`,
    );
  }
  lines.push(
    "",
    `Then: ${command} usage           what was used and what it cost`,
    `      ${command} keys create     a key for each application`,
    `      ${command} --help          everything else; Ctrl-C ends`,
    "",
  );
  return lines.join("\n");
}

/** A text as one word of a POSIX shell. */
export function shellText(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
