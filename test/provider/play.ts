import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Reply, stampPlace } from "./answer.ts";
import { type Frame, oddFrames, type ReplyHead, replyFrames, replyJson } from "./body.ts";
import { errorJson } from "./errors.ts";
import type { Script } from "./script.ts";

/** How far one answer has come. */
export interface Progress {
  /** HTTP status that was sent; 0 while none was. */
  status: number;
  /** Output tokens produced so far. */
  tokens: number;
  bytes: number;
  chunks: number;
  /** When the pause before the first token was over, in milliseconds since 1970; undefined: there was none, or it is not over. */
  tokensFromMs?: number;
}

/** One answer on its way. */
export interface Play {
  readonly response: ServerResponse;
  readonly script: Script;
  readonly reply: Reply;
  readonly head: ReplyHead;
  readonly includeUsage: boolean;
  readonly progress: Progress;
  /** Resolves after `ms`, or as soon as work is to stop; an infinite pause ends when the client leaves. */
  pause(ms: number): Promise<void>;
  /** Whether the client has left. */
  left(): boolean;
  /** Whether work is to stop: the client has left, and nothing says that it goes on regardless. */
  stopped(): boolean;
  /** Called before the first write of a body. */
  onFirstWrite(): void;
}

const streamType = "text/event-stream; charset=utf-8";
const joinBytes = 65_536;

/** Answers with one JSON body. Resolves with false when a fault kept the answer from being whole. */
export async function playJson(play: Play): Promise<boolean> {
  const { response, script, reply, progress } = play;
  const body = replyJson(reply, play.head, script);
  progress.tokens = reply.outputTokens;
  const fault = script.fault;
  if (fault === undefined && script.sliceBytes === undefined && script.gapMs === undefined) {
    // Head and body leave in one write.
    const length = Buffer.byteLength(body);
    begin(play, "application/json", length);
    progress.bytes = length;
    progress.chunks = 1;
    response.end(body);
    return true;
  }
  const whole = Buffer.from(body);
  if (fault === "bad-json") {
    const half = whole.subarray(0, whole.length >> 1);
    begin(play, "application/json", half.length);
    await write(play, half);
    await finish(play);
    return false;
  }
  if (fault === "length-short") {
    begin(play, "application/json", whole.length >> 1);
    await write(play, whole);
    await finish(play);
    return false;
  }
  if (fault === "length-long") {
    begin(play, "application/json", whole.length + 64);
    await write(play, whole);
    response.socket?.end();
    return false;
  }
  const cut = cutsBody(fault) ? whole.subarray(0, Math.min(script.after ?? 3, whole.length)) : undefined;
  begin(play, "application/json", fault === "end-stream" ? undefined : whole.length);
  for (const slice of slices(cut ?? whole, script.sliceBytes)) {
    await writePaced(play, slice);
  }
  if (cut !== undefined) {
    await breakOff(play);
    return false;
  }
  await finish(play);
  return !play.stopped();
}

/** Answers with server-sent events. Resolves with false when a fault kept the stream from being whole. */
export async function playStream(play: Play): Promise<boolean> {
  const { response, script, progress } = play;
  const frames = oddFrames(replyFrames(play.reply, play.head, script, play.includeUsage), script);
  const paced = script.gapMs !== undefined || script.sliceBytes !== undefined || script.firstTokenMs !== undefined;
  if (!paced && script.fault === undefined) {
    const small = joinSmall(frames, progress);
    if (small.rest === undefined) {
      begin(play, streamType, undefined);
      progress.bytes += Buffer.byteLength(small.text);
      progress.chunks++;
      response.end(small.text);
      return true;
    }
    begin(play, streamType, undefined);
    await write(play, small.text);
    return playJoined(play, small.rest);
  }
  begin(play, streamType, undefined);

  const after = script.after ?? 3;
  let content = 0;
  let waited = script.firstTokenMs === undefined;
  let pending = "";
  for (const frame of frames) {
    if (play.stopped()) return false;
    if (frame.content) {
      if (!waited) {
        if (pending !== "") await write(play, pending);
        pending = "";
        waited = true;
        await play.pause(script.firstTokenMs ?? 0);
        progress.tokensFromMs = Date.now();
        if (play.stopped()) return false;
      }
      if (content++ === after && strikesStream(script.fault)) {
        if (pending !== "") await write(play, pending);
        pending = "";
        if (!(await strike(play))) return false;
      }
    }
    if (!paced) {
      progress.tokens = frame.tokens;
      pending += frame.text;
      if (pending.length < joinBytes) continue;
      await write(play, pending);
      pending = "";
    } else {
      const bytes = script.sliceBytes === undefined ? [frame.text] : slices(Buffer.from(frame.text), script.sliceBytes);
      for (const slice of bytes) await writePaced(play, slice);
      if (!play.stopped()) progress.tokens = frame.tokens;
    }
  }
  // A stream of fewer chunks than `after` meets its fault at the end of its content.
  if (content <= after && strikesStream(script.fault)) {
    if (pending !== "") await write(play, pending);
    if (!(await strike(play))) return false;
    pending = "";
  }
  if (pending !== "") await write(play, pending);
  await finish(play);
  return !play.stopped() && script.fault !== "no-done";
}

/** Answers with a fault that needs no reply; false when `fault` is not one of these. */
export async function playInstead(play: Play, stream: boolean): Promise<boolean> {
  const { response, script } = play;
  const socket = response.socket;
  switch (script.fault) {
    case "hang":
      await play.pause(Number.POSITIVE_INFINITY);
      return true;
    case "reset":
      resetSocket(socket);
      return true;
    case "close":
      socket?.end();
      return true;
    case "garbage":
      socket?.end("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\0\x01\x02garbage\r\n\r\n");
      return true;
    case "html":
      await sendBody(play, "text/html", "<!doctype html><title>Welcome</title><h1>It works!</h1>\n");
      return true;
    case "empty":
      await sendBody(play, stream ? streamType : "application/json", "");
      return true;
    case "error-body":
      await sendBody(play, "application/json", errorJson(script.status ?? 429, script));
      return true;
    default:
      return false;
  }
}

async function playJoined(play: Play, rest: Iterator<Frame>): Promise<boolean> {
  let pending = "";
  for (let next = rest.next(); next.done !== true; next = rest.next()) {
    if (play.stopped()) return false;
    play.progress.tokens = next.value.tokens;
    pending += next.value.text;
    if (pending.length < joinBytes) continue;
    await write(play, pending);
    pending = "";
  }
  if (pending !== "") await write(play, pending);
  await finish(play);
  return !play.stopped();
}

/** Joins frames until they are many; `rest` is set when there may be more. */
function joinSmall(frames: Iterator<Frame>, progress: Progress): { text: string; rest?: Iterator<Frame> } {
  let text = "";
  for (let next = frames.next(); next.done !== true; next = frames.next()) {
    progress.tokens = next.value.tokens;
    text += next.value.text;
    if (text.length >= joinBytes) return { text, rest: frames };
  }
  return { text };
}

function cutsBody(fault: Script["fault"]): boolean {
  return (
    fault === "stall" ||
    fault === "half-open" ||
    fault === "reset-stream" ||
    fault === "cut-stream" ||
    fault === "end-stream"
  );
}

function strikesStream(fault: Script["fault"]): boolean {
  return (
    cutsBody(fault) ||
    fault === "error-frame" ||
    fault === "error-event" ||
    fault === "bad-json" ||
    fault === "long-line" ||
    fault === "length-long" ||
    fault === "length-short"
  );
}

/** Does what a fault does in the middle of a stream. Resolves with whether the stream goes on. */
async function strike(play: Play): Promise<boolean> {
  const { script } = play;
  switch (script.fault) {
    case "bad-json":
      await write(play, 'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"ind\n\n');
      return true;
    case "long-line": {
      const padding = "x".repeat(script.lineBytes ?? 10 * 1024 * 1024);
      await write(play, `data: {"object":"chat.completion.chunk","choices":[],"obfuscation":"${padding}"}\n\n`);
      return true;
    }
    case "error-frame":
    case "error-event": {
      const error = errorJson(script.status ?? 500, script);
      await write(play, `${script.fault === "error-event" ? "event: error\n" : ""}data: ${error}\n\n`);
      await finish(play);
      return false;
    }
    default:
      await breakOff(play);
      return false;
  }
}

async function breakOff(play: Play): Promise<void> {
  const { response, script } = play;
  const socket = response.socket;
  // The bytes before must be on their way: the end of a connection discards what is still queued here.
  await play.pause(1);
  switch (script.fault) {
    case "reset-stream":
      resetSocket(socket);
      return;
    case "half-open":
      socket?.removeAllListeners("end");
      return;
    case "stall":
      await play.pause(Number.POSITIVE_INFINITY);
      return;
    case "end-stream":
      await finish(play);
      return;
    default:
      socket?.end();
  }
}

function begin(play: Play, contentType: string, contentLength: number | undefined): void {
  const { response, script, progress } = play;
  progress.status = 200;
  const headers = ["content-type", script.contentType ?? contentType, "x-request-id", `req_${play.head.id ?? "sim"}`];
  if (contentLength !== undefined) headers.push("content-length", String(contentLength));
  response.writeHead(200, headers);
  // The head goes out before the first pause, as providers send it.
  if (script.firstTokenMs !== undefined || script.gapMs !== undefined) response.flushHeaders();
}

async function sendBody(play: Play, contentType: string, body: string): Promise<void> {
  begin(play, contentType, Buffer.byteLength(body));
  if (body !== "") await write(play, body);
  await finish(play);
}

/** Writes, after a pause if it is not the first write. */
async function writePaced(play: Play, data: string | Buffer): Promise<void> {
  if (play.script.gapMs !== undefined && play.progress.chunks > 0) await play.pause(play.script.gapMs);
  if (play.stopped()) return;
  await write(play, play.script.stamp === true && typeof data === "string" ? stamp(data) : data);
}

function stamp(text: string): string {
  return text.replace(stampPlace, () => `@${Number(process.hrtime.bigint() / 1000n) / 1000}@`);
}

/** Writes and waits until the socket takes more. */
async function write(play: Play, data: string | Buffer): Promise<void> {
  if (play.progress.chunks === 0) play.onFirstWrite();
  play.progress.chunks++;
  play.progress.bytes += typeof data === "string" ? Buffer.byteLength(data) : data.length;
  if (play.left()) return;
  if (play.response.write(data)) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      play.response.off("drain", done);
      play.response.off("close", done);
      resolve();
    };
    play.response.on("drain", done);
    play.response.on("close", done);
  });
}

/** Ends the body and waits until it has been handed over. */
async function finish(play: Play): Promise<void> {
  if (play.left()) return;
  await new Promise<void>((resolve) => {
    play.response.once("close", resolve);
    play.response.end(resolve);
  });
}

function resetSocket(socket: Socket | null): void {
  if (socket === null) return;
  // TLS sockets know no reset; the client sees a connection closed without close_notify.
  if ("encrypted" in socket) socket.destroy();
  else socket.resetAndDestroy();
}

function* slices(bytes: Buffer, size: number | undefined): Generator<Buffer, void, undefined> {
  if (size === undefined) {
    yield bytes;
    return;
  }
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
