import { connect, type Socket } from "node:net";

/** One answer, as the load generator sees it. */
export interface Answer {
  readonly status: number;
  /** Milliseconds from writing the request to the first byte of the answer's body. */
  readonly firstByteMs: number;
  /** Milliseconds to the answer's last byte. */
  readonly totalMs: number;
  readonly bodyBytes: number;
}

/** Watches the body of a streamed answer as it comes. */
export type OnBody = (bytes: Buffer) => void;

const headerEnd = Buffer.from("\r\n\r\n");
const lastChunk = Buffer.from("0\r\n\r\n");

/**
 * A keep-alive HTTP/1.1 connection for one request at a time: writes prepared bytes and finds the end of the answer with as
 * little work as it can, so that the generator's own CPU time leaves room for what is measured. Not a general client: chunked
 * bodies must end with an empty chunk that stands at the end of what was read.
 */
export function createConnection(host: string, port: number) {
  let socket: Socket | undefined;
  let broken: Error | undefined;
  let pending:
    | {
        resolve: (answer: Answer) => void;
        reject: (error: Error) => void;
        start: number;
        firstByteMs: number;
        head: Buffer | undefined;
        status: number;
        length: number;
        received: number;
        onBody: OnBody | undefined;
      }
    | undefined;

  const fail = (error: Error) => {
    broken = error;
    const call = pending;
    pending = undefined;
    call?.reject(error);
  };

  const onData = (data: Buffer) => {
    const call = pending;
    if (call === undefined) return;
    let body = data;
    if (call.status === 0) {
      const all = call.head === undefined ? data : Buffer.concat([call.head, data]);
      const end = all.indexOf(headerEnd);
      if (end < 0) {
        call.head = all;
        return;
      }
      const head = all.toString("latin1", 0, end).toLowerCase();
      call.status = Number(head.slice(9, 12));
      const length = /\r\ncontent-length: *(\d+)/.exec(head)?.[1];
      call.length = length === undefined ? -1 : Number(length);
      body = all.subarray(end + 4);
    }
    if (body.length > 0) {
      if (call.firstByteMs < 0) call.firstByteMs = performance.now() - call.start;
      call.received += body.length;
      call.onBody?.(body);
    }
    const done =
      call.length >= 0
        ? call.received >= call.length
        : body.length >= 5 && body.subarray(body.length - 5).equals(lastChunk);
    if (done) {
      pending = undefined;
      call.resolve({
        status: call.status,
        firstByteMs: call.firstByteMs,
        totalMs: performance.now() - call.start,
        bodyBytes: call.received,
      });
    }
  };

  return {
    /** Sends a prepared request. @throws when the connection breaks before the answer's end */
    async request(bytes: Buffer, onBody?: OnBody): Promise<Answer> {
      if (pending !== undefined) throw new Error("the connection is in use");
      if (socket === undefined || broken !== undefined) {
        broken = undefined;
        socket = connect({ host, port, noDelay: true });
        socket.on("data", onData);
        socket.on("error", fail);
        socket.on("close", () => fail(new Error("the connection closed before the answer's end")));
        const opening = socket;
        await new Promise<void>((resolve, reject) => {
          opening.once("connect", resolve);
          opening.once("error", reject);
        });
      }
      const open = socket;
      return new Promise<Answer>((resolve, reject) => {
        pending = {
          resolve,
          reject,
          start: performance.now(),
          firstByteMs: -1,
          head: undefined,
          status: 0,
          length: -1,
          received: 0,
          onBody,
        };
        open.write(bytes);
      });
    },
    close() {
      socket?.removeAllListeners("close");
      socket?.destroy();
    },
  };
}

/** The bytes of a POST with a JSON body. */
export function postBytes(url: URL, path: string, key: string, body: unknown): Buffer {
  const json = Buffer.from(JSON.stringify(body));
  const head =
    `POST ${path} HTTP/1.1\r\nhost: ${url.host}\r\nauthorization: Bearer ${key}\r\n` +
    `content-type: application/json\r\ncontent-length: ${json.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), json]);
}
