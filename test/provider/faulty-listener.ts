import { type AddressInfo, createServer, type Socket } from "node:net";

export const listenerFaults = [
  "refuse", // nothing listens: connections are refused
  "hang", // takes the connection and stays silent
  "reset", // takes the connection and resets it
  "close", // takes the connection and closes it in order
  "garbage", // answers with bytes that are neither HTTP nor TLS
] as const;
export type ListenerFault = (typeof listenerFaults)[number];

/** An address at which a provider is broken below HTTP. */
export interface FaultyListener {
  /** `127.0.0.1:PORT`: put `http://` or `https://` before it. */
  readonly address: string;
  /** Connections taken so far. */
  connections(): number;
  close(): Promise<void>;
}

/** Opens such an address on a free port. */
export async function createFaultyListener(fault: ListenerFault): Promise<FaultyListener> {
  const sockets = new Set<Socket>();
  let taken = 0;
  const server = createServer((socket) => {
    taken++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    if (fault === "reset") socket.resetAndDestroy();
    else if (fault === "close") socket.end();
    else if (fault === "garbage") socket.end("220 mail.example ESMTP\r\n");
    else socket.pause();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () =>
    new Promise<void>((resolve) => {
      if (server.listening) server.close(() => resolve());
      else resolve();
      for (const socket of sockets) socket.destroy();
    });
  if (fault === "refuse") await close();
  return { address: `127.0.0.1:${port}`, connections: () => taken, close };
}
