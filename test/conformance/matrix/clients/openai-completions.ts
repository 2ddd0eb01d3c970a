import type { MatrixClient, Seen } from "../client.ts";
import { connect, openaiRaised, openaiUsage } from "./openai-chat.ts";

/** `completions` of the official `openai` package: one prompt, one text. */
export const openaiCompletionsClient: MatrixClient = {
  dialect: "openai-completions",
  async ask(door, { model, stream, turns, replies, signal, onText }) {
    const { client, warnings } = connect(door);
    const options = signal === undefined ? {} : { signal };
    const prompt = turns.map((turn) => (turn.kind === "user" ? turn.text : "")).join("");
    const params = { model, prompt, ...(replies === undefined ? {} : { n: replies }) };
    const texts: string[] = [""];
    let end: unknown;
    let usage: unknown;
    if (!stream) {
      const answer = await client.completions.create(params, options);
      for (const choice of answer.choices) texts[choice.index] = choice.text;
      end = answer.choices[0]?.finish_reason;
      usage = answer.usage;
    } else {
      const include = { stream_options: { include_usage: true } };
      for await (const chunk of await client.completions.create({ ...params, stream: true, ...include }, options)) {
        for (const { index, text, finish_reason: reason } of chunk.choices) {
          texts[index] = (texts[index] ?? "") + text;
          if (index !== 0) continue;
          if (text !== "") onText?.(text);
          end = reason ?? end;
        }
        usage = chunk.usage ?? usage;
      }
      // The library ends a stream quietly that its user aborts.
      signal?.throwIfAborted();
    }
    const [text = "", ...others] = texts;
    return { text, others, reasoning: "", calls: [], end, usage, reply: text, warnings: warnings() } satisfies Seen;
  },
  usage: openaiUsage,
  ends: { text: "stop", calls: undefined },
  raised: openaiRaised,
};
