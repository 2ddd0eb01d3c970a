import { createProxy } from "./proxy.ts";

/** What a cluster has before its edges: each new connection goes to the next one that says that it is ready. */
export interface Balancer {
  readonly port: number;
  close(): Promise<void>;
}

const probeMs = 50;
const probeTimeoutMs = 2_000;

/** @param edgePorts on the loopback address; asked on `/health/ready` twenty times a second */
export async function createBalancer(edgePorts: readonly number[]): Promise<Balancer> {
  const ready = new Set<number>();
  const closing = new AbortController();
  let turn = 0;

  async function probe(port: number): Promise<void> {
    while (!closing.signal.aborted) {
      const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(probeTimeoutMs)]);
      const isReady = await fetch(`http://127.0.0.1:${port}/health/ready`, { signal }).then(
        (answer) => answer.ok,
        () => false,
      );
      if (isReady) ready.add(port);
      else ready.delete(port);
      await new Promise((resolve) => setTimeout(resolve, probeMs));
    }
  }

  const probing = edgePorts.map(probe);
  const proxy = await createProxy(() => [...ready][turn++ % ready.size]);
  return {
    port: proxy.port,
    async close() {
      closing.abort();
      await Promise.all(probing);
      await proxy.close();
    },
  };
}
