import { type MatrixClient, type Seen } from "../client.ts";
import { connect, openaiRaised, openaiUsage } from "./openai-chat.ts";

/** `completions` of the official `openai` package: one prompt, one text. */
export const openaiCompletionsClient: MatrixClient = {
  dialect: "openai-completions",
  async ask(door, { model, stream, turns, signal, onText }) {
    const { client, warnings } = connect(door);
    const options = signal === undefined ? {} : { signal };
    const prompt = turns.map((turn) => (turn.kind === "user" ? turn.text : "")).join("");
    let text = "";
    let end: unknown;
    let usage: unknown;
    if (!stream) {
      const answer = await client.completions.create({ model, prompt }, options);
      text = answer.choices[0]?.text ?? "";
      end = answer.choices[0]?.finish_reason;
      usage = answer.usage;
    } else {
      const include = { stream_options: { include_usage: true } };
      for await (const chunk of await client.completions.create({ model, prompt, stream: true, ...include }, options)) {
        const piece = chunk.choices[0]?.text ?? "";
        text += piece;
        if (piece !== "") onText?.(piece);
        end = chunk.choices[0]?.finish_reason ?? end;
        usage = chunk.usage ?? usage;
      }
    }
    return { text, reasoning: "", calls: [], end, usage, reply: text, warnings: warnings() } satisfies Seen;
  },
  usage: openaiUsage,
  ends: { text: "stop", calls: undefined },
  raised: openaiRaised,
};
