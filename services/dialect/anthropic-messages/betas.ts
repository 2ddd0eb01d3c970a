import { isObject, type JsonObject } from "../json.ts";

// What the vendor takes only with a header, by the type of a tool and by the name of a member of the body.
// https://platform.claude.com/docs/en/api/beta-headers, and `AnthropicBeta` of the vendor's SDK.
const toolBetas: Readonly<Record<string, string>> = {
  computer_20241022: "computer-use-2024-10-22",
  bash_20241022: "computer-use-2024-10-22",
  text_editor_20241022: "computer-use-2024-10-22",
  computer_20250124: "computer-use-2025-01-24",
  computer_20251124: "computer-use-2025-11-24",
  advisor_20260301: "advisor-tool-2026-03-01",
  mcp_toolset: "mcp-client-2025-11-20",
};

const memberBetas: Readonly<Record<string, string>> = {
  compaction: "compact-2026-09-04",
  context_management: "context-management-2025-06-27",
  fallbacks: "server-side-fallback-2026-07-01",
  mcp_servers: "mcp-client-2025-11-20",
  speed: "fast-mode-2026-02-01",
  thread: "message-threads-2026-08-12",
};

/** The value of `anthropic-beta` that a body needs; empty when it needs none. */
export function betasOf(body: JsonObject): string {
  const betas = new Set<string>();
  for (const name of Object.keys(body)) add(betas, memberBetas, name);
  const tools: readonly unknown[] = Array.isArray(body["tools"]) ? body["tools"] : [];
  for (const tool of tools) if (isObject(tool)) add(betas, toolBetas, tool["type"]);
  return [...betas].join(",");
}

function add(betas: Set<string>, table: Readonly<Record<string, string>>, name: unknown): void {
  const beta = typeof name === "string" && Object.hasOwn(table, name) ? table[name] : undefined;
  if (beta !== undefined) betas.add(beta);
}
