import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A way between two processes that can be cut, and stopped in one direction or both. */
export interface Proxy {
  readonly port: number;
  /** Bytes of these directions wait from now on: `up` from callers, `down` to them. Nobody is told. */
  stop(...directions: readonly Direction[]): void;
  /** Resets every connection, and refuses new ones. */
  cut(): void;
  /** What is open now passes nothing from now on, and nobody is ever told, as when a cable is pulled. New connections are whole. */
  lose(): void;
  /** Ends all of that, but for what was lost. */
  mend(): void;
  close(): Promise<void>;
}

export type Direction = "up" | "down";

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  isLost: boolean;
}

/**
 * Listens on a free port of the loopback address and passes everything on to another.
 * @param target that port; a function is asked at every connection, which is reset when there is none
 * @param onData sees bytes before they are passed on, and an object that stands for their connection; false: they are not
 */
export async function createProxy(
  target: number | (() => number | undefined),
  onData: (direction: Direction, data: Buffer, connection: object) => boolean = () => true,
): Promise<Proxy> {
  const pairs = new Set<Pair>();
  const stopped = new Set<Direction>();
  let isCut = false;
  const flow = ({ near, far }: Pair): void => {
    if (stopped.has("up")) near.pause();
    else near.resume();
    if (stopped.has("down")) far.pause();
    else far.resume();
  };
  const server = createServer({ noDelay: true }, (near) => {
    const port = typeof target === "number" ? target : target();
    if (isCut || port === undefined) {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ port, host: "127.0.0.1", noDelay: true });
    const pair: Pair = { near, far, isLost: false };
    pairs.add(pair);
    for (const [from, to, direction] of [
      [near, far, "up"],
      [far, near, "down"],
    ] as const) {
      from.on("data", (data: Buffer) => {
        if (!pair.isLost && onData(direction, data, pair)) to.write(data);
      });
      from.on("end", () => {
        if (!pair.isLost) to.end();
      });
      from.on("error", () => {
        if (!pair.isLost) to.destroy();
      });
      from.on("close", () => {
        // The caller of a lost one is to find out by itself.
        if (pair.isLost && direction === "down") return;
        to.destroy();
        pairs.delete(pair);
      });
    }
    flow(pair);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    stop(...directions) {
      for (const direction of directions) stopped.add(direction);
      for (const pair of pairs) flow(pair);
    },
    cut() {
      isCut = true;
      for (const { near } of pairs) near.resetAndDestroy();
    },
    lose() {
      for (const pair of pairs) pair.isLost = true;
    },
    mend() {
      isCut = false;
      stopped.clear();
      for (const pair of pairs) flow(pair);
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const { near } of pairs) near.destroy();
      await closed;
    },
  };
}
