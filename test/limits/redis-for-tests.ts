import { createLog } from "@weir/kit/log";
import { type RedisLink, startRedis as connect } from "weir/redis";
import { startRedis } from "../servers.ts";

/** A connection to a real Redis. */
export interface TestRedis {
  readonly url: string;
  readonly redis: RedisLink;
  stop(): Promise<void>;
}

/**
 * Connects to the Redis of WEIR_TEST_REDIS_URL, or to a private one, and empties one of its databases.
 * @param database one for each file of tests, since files run side by side
 */
export async function redisForTests(database: number): Promise<TestRedis> {
  const server = await startRedis();
  const url = new URL(server.url);
  url.pathname = `/${database}`;
  const redis = connect({ url: url.href, name: "weir-test", log: createLog({ service: "test", level: "silent" }) });
  await answering(redis);
  await redis.run("return redis.call('FLUSHDB')", [], []);
  return {
    url: url.href,
    redis,
    async stop() {
      redis.close();
      await server.stop();
    },
  };
}

/** Resolves when it answers. @throws Error after ten seconds */
export async function answering(redis: RedisLink): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!redis.isReady) {
    if (performance.now() > endMs) throw new Error("Redis does not answer");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
