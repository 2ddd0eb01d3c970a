import { type Harness, openRaw } from "./harness.ts";

/** Sends bytes on a connection of their own, and reads what comes until the other side closes. */
export async function sendRaw(port: number, text: string): Promise<string> {
  const raw = await openRaw(port);
  raw.socket.write(text);
  return raw.whole();
}

/** The status of each answer that came on a connection, in order. */
export function statusesOf(answers: string): number[] {
  return Array.from(answers.matchAll(/HTTP\/1\.1 (\d{3})/g), ([, status]) => Number(status));
}

/** Whether the edge, whatever was done to it, goes on. */
export async function isServing(edge: Harness): Promise<boolean> {
  return (await fetch(`${edge.url}/health/live`)).ok;
}
