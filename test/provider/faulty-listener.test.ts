import { readFileSync } from "node:fs";
import { request } from "node:https";
import { expect, test } from "vitest";
import { createFaultyListener, type ListenerFault } from "./faulty-listener.ts";
import { createSimulator } from "./simulator.ts";

test.each([
  ["refuse", { code: "ECONNREFUSED" }],
  ["reset", { code: "ECONNRESET" }],
  ["close", { code: "UND_ERR_SOCKET" }],
  ["garbage", { name: "HTTPParserError" }],
] as [ListenerFault, object][])("%s", async (fault, cause) => {
  const listener = await createFaultyListener(fault);
  await expect(fetch(`http://${listener.address}/`)).rejects.toMatchObject({ cause });
  expect(listener.connections()).toBe(fault === "refuse" ? 0 : 1);
  await listener.close();
});

test("hang: connects and stays silent", async () => {
  const listener = await createFaultyListener("hang");
  await expect(fetch(`http://${listener.address}/`, { signal: AbortSignal.timeout(150) })).rejects.toMatchObject({
    name: "TimeoutError",
  });
  expect(listener.connections()).toBe(1);
  await listener.close();
});

test("TLS: answers those who trust the certificate, and only those", async () => {
  const read = (name: string) => readFileSync(new URL(`__fixtures__/localhost-${name}.pem`, import.meta.url), "utf8");
  const simulator = createSimulator({ tls: { key: read("key"), cert: read("cert") } });
  const { url } = await simulator.listen();
  const get = (ca: string | undefined) =>
    new Promise<number | undefined>((resolve, reject) => {
      request(`${url}/v1/models`, ca === undefined ? {} : { ca }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on("error", reject)
        .end();
    });
  expect(url).toMatch(/^https:/);
  expect(await get(read("cert"))).toBe(200);
  await expect(get(undefined)).rejects.toMatchObject({ code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
  await simulator.close();
});
