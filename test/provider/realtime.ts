import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type RawData, WebSocketServer } from "ws";

/** A session of Realtime, as it came. */
export interface RealtimeCall {
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  /** The client's events so far. */
  readonly events: Readonly<Record<string, unknown>>[];
  /** How it was closed; undefined while it is open. */
  closeCode: number | undefined;
  /** What waits here because the other end does not take it. */
  readonly unsentBytes: () => number;
}

const usage = {
  total_tokens: 15,
  input_tokens: 10,
  output_tokens: 5,
  input_token_details: { cached_tokens: 2, text_tokens: 4, audio_tokens: 6 },
  output_token_details: { text_tokens: 1, audio_tokens: 4 },
};

/** A hundred megabytes: more than the buffers of the system on the way. */
export const floodPieces = 10_000;

/**
 * Answers `response.create` with one response, and one of `conversation: "none"` with one that ends at `sim.end`, the last first; an
 * unknown conversation with an error; `sim.begin` with one that does not end, `sim.unasked` with two that did not begin and one
 * that does not end, `sim.flood` with very much, `sim.cut` by breaking off.
 */
export function createRealtime() {
  const calls: RealtimeCall[] = [];
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false });

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const url = request.url ?? "";
    if (url.includes("model=refused")) {
      socket.end("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
      return;
    }
    server.handleUpgrade(request, socket, head, (webSocket) => {
      const call: RealtimeCall = {
        url,
        headers: request.headers,
        events: [],
        closeCode: undefined,
        unsentBytes: () => webSocket.bufferedAmount,
      };
      calls.push(call);
      const aside: object[] = [];
      const say = (event: object) => webSocket.send(JSON.stringify({ event_id: `event_${calls.length}`, ...event }));
      webSocket.on("close", (code) => {
        call.closeCode = code;
      });
      webSocket.on("error", () => undefined);
      webSocket.on("message", (data: RawData) => {
        const event = JSON.parse((data as Buffer).toString()) as Record<string, unknown>;
        call.events.push(event);
        const response = { object: "realtime.response", id: `resp_${call.events.length}` };
        const conversation = (event["response"] as { conversation?: string } | undefined)?.conversation ?? "auto";
        if (conversation === "unknown") {
          say({ type: "error", error: { type: "invalid_request_error", event_id: event["event_id"] ?? null } });
          return;
        }
        if (event["type"] === "response.create" || event["type"] === "sim.begin") {
          say({ type: "response.created", response: { ...response, status: "in_progress" } });
        }
        if (conversation === "none") {
          aside.push(response);
        } else if (event["type"] === "response.create") {
          say({ type: "response.output_text.delta", delta: 'he said "response.done"', response_id: response.id });
          say({ type: "response.done", response: { ...response, status: "completed", usage } });
        }
        if (event["type"] === "sim.end") {
          for (const one of aside.splice(0).reverse()) {
            say({ type: "response.done", response: { ...one, status: "completed", usage } });
          }
        }
        if (event["type"] === "sim.unasked") {
          for (const id of ["resp_a", "resp_b"]) {
            say({ type: "response.done", response: { ...response, id, status: "completed", usage } });
          }
          say({ type: "response.created", response: { ...response, id: "resp_c", status: "in_progress" } });
        }
        if (event["type"] === "sim.flood") {
          for (let count = 0; count < floodPieces; count += 1) say({ type: "sim.piece", text: "x".repeat(10_000) });
        }
        if (event["type"] === "sim.cut") socket.destroy();
      });
      say({ type: "session.created", session: { object: "realtime.session", model: url.split("model=")[1] } });
    });
  }

  return { upgrade, calls };
}
