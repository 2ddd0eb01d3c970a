import { create } from "@bufbuild/protobuf";
import { type Usage, UsageSchema } from "@weir/gen/weir/common/v1/usage_pb";

const counts = [
  ["input_tokens", "inputTokens"],
  ["cached_input_tokens", "cachedInputTokens"],
  ["cache_write_tokens", "cacheWriteTokens"],
  ["cache_write_long_tokens", "cacheWriteLongTokens"],
  ["audio_input_tokens", "audioInputTokens"],
  ["image_input_tokens", "imageInputTokens"],
  ["output_tokens", "outputTokens"],
  ["reasoning_tokens", "reasoningTokens"],
  ["audio_output_tokens", "audioOutputTokens"],
  ["image_output_tokens", "imageOutputTokens"],
] as const;

/** Columns of `attempts` that amounts depend on, for a `select`. */
export const usageColumns = [...counts.map(([column]) => column), "server_tool_uses", "service_tier"].join(", ");

/** What those columns hold; int8 comes as text. */
export interface UsageRow extends Readonly<Record<(typeof counts)[number][0], string | null>> {
  readonly server_tool_uses: Readonly<Record<string, number>> | null;
  readonly service_tier: string | null;
}

/** The usage of a row, as far as amounts depend on it. */
export function toUsage(row: UsageRow): Usage {
  const usage = create(UsageSchema, { serverToolUses: { ...row.server_tool_uses } });
  for (const [column, name] of counts) {
    const count = row[column];
    if (count !== null) usage[name] = Number(count);
  }
  if (row.service_tier !== null) usage.serviceTier = row.service_tier;
  return usage;
}
