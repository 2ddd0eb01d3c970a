import type { CallHead } from "@weir/gen/weir/passthrough/v1/forward_pb";

/** Sound of so few bytes a second is hardly understood; what is sent has more. */
const soundBytesPerSecond = 1_000;
/** The longest file that OpenAI transcribes: https://platform.openai.com/docs/guides/speech-to-text */
const soundBytesMax = 25 * 1024 * 1024;
/** A hundred documents are a unit, and a long one is several: https://docs.cohere.com/docs/how-does-cohere-pricing-work */
const rerankBytesPerUnit = 4_000;

/**
 * The most units that a call may be billed for beside tokens, by the names of `Usage.serverToolUses`: what its body asks for, and
 * a guess that is seldom too low where only the provider finds out. Money is set aside for as many.
 */
export function unitsToHold({ endpoint, path, units, bodyBytes }: CallHead): Readonly<Record<string, number>> {
  if (endpoint === "rerank")
    return { ...units, search_units: 1 + Math.ceil(Number(bodyBytes ?? 0) / rerankBytesPerUnit) };
  if (path !== "/audio/transcriptions" && path !== "/audio/translations") return units;
  const bytes = Math.min(Number(bodyBytes ?? soundBytesMax), soundBytesMax);
  return { ...units, audio_seconds: Math.ceil(bytes / soundBytesPerSecond) };
}
