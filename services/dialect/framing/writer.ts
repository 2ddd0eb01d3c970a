import type { Frame, Framing } from "../codec.ts";
import { awsEventMessage } from "./aws-event-stream.ts";

/**
 * The bytes for frames, to be sent together.
 * @param frames their data is JSON text, which may hold line breaks between its tokens, or an end mark
 */
export function writeFrames(framing: Framing, frames: readonly Frame[]): string | Buffer {
  switch (framing) {
    case "sse":
      return joined(frames, serverSentEvent);
    case "ndjson":
      return joined(frames, line);
    case "aws-event-stream":
      return Buffer.concat(frames.map(awsEventMessage));
  }
}

function joined(frames: readonly Frame[], write: (frame: Frame) => string): string {
  let text = "";
  for (const frame of frames) text += write(frame);
  return text;
}

function serverSentEvent({ type, data }: Frame): string {
  const event = `data: ${lineBreak.test(data) ? data.split(lineBreak).join("\ndata: ") : data}\n\n`;
  return type === "" ? event : `event: ${type}\n${event}`;
}

function line({ data }: Frame): string {
  return `${lineBreak.test(data) ? data.split(lineBreak).join(" ") : data}\n`;
}

const lineBreak = /\r\n|\r|\n/;
