import { type AddressInfo, createServer, type Server } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Setting, startSetting, vendorNames } from "./matrix/setting.ts";

// No word of a client makes the gateway connect anywhere: pictures and files by URL go to the provider as they are, and what other gateways
// take for a base URL, a callback or a host is not read. https://owasp.org/Top10/A10_2021-Server-Side_Request_Forgery_%28SSRF%29/

let setting: Setting;
let canary: Server;
let port: number;
let connections = 0;

beforeAll(async () => {
  canary = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => canary.listen({ host: "::", port: 0, ipv6Only: false }, resolve));
  ({ port } = canary.address() as AddressInfo);
  setting = await startSetting();
});

afterAll(async () => {
  await setting.close();
  await new Promise((resolve) => canary.close(resolve));
});

/** Ways to write the address of this machine that filters have missed. */
const hosts = [
  "127.0.0.1",
  "127.1",
  "127.0.1",
  "127.00.00.01",
  "0127.0.0.1",
  "0x7f.0.0.1",
  "0x7f000001",
  "017700000001",
  "2130706433",
  "0",
  "0.0.0.0",
  "localhost",
  "LOCALHOST",
  "localhost.",
  "127.0.0.1.",
  "①②⑦.⓪.⓪.①",
  "127。0。0。1",
  "[::1]",
  "[0:0:0:0:0:0:0:1]",
  "[::]",
  "[::ffff:127.0.0.1]",
  "[::ffff:7f00:1]",
  "[0:0:0:0:0:ffff:7f00:0001]",
  "[::127.0.0.1]",
  "[64:ff9b::7f00:1]",
  "[64:ff9b::127.0.0.1]",
  "[2002:7f00:1::]",
  "[fe80::1%25lo]",
  "user:secret@127.0.0.1",
  "example.com@127.0.0.1",
  "127.0.0.1%00.example.com",
  "127.0.0.1#.example.com",
];
const schemes = ["http", "https", "HTTP", "ws", "ftp", "gopher", "file"];

function urls(): string[] {
  const everyHost = hosts.map((host) => {
    const [name = "", rest] = host.split("#");
    return `http://${name}:${port}/canary.png${rest === undefined ? "" : `#${rest}`}`;
  });
  const everyScheme = schemes.map((scheme) => `${scheme}://127.0.0.1:${port}/canary.png`);
  return [
    ...everyHost,
    ...everyScheme,
    `//127.0.0.1:${port}/canary.png`,
    `http:127.0.0.1:${port}/canary.png`,
    `http:\\\\127.0.0.1:${port}\\canary.png`,
    `http://169.254.169.254/latest/meta-data/`,
    `http://[fd00:ec2::254]/latest/meta-data/`,
    `http://metadata.google.internal/computeMetadata/v1/`,
  ];
}

/** Where each dialect has a URL of its client's. */
const bodies: readonly (readonly [path: string, body: (model: string, url: string) => object])[] = [
  [
    "/v1/chat/completions",
    (model, url) => ({
      model,
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "what is this?" },
            { type: "image_url", image_url: { url } },
          ],
        },
      ],
    }),
  ],
  [
    "/v1/responses",
    (model, url) => ({
      model,
      store: false,
      input: [{ role: "user", content: [{ type: "input_image", image_url: url }] }],
    }),
  ],
  [
    "/v1/messages",
    (model, url) => ({
      model,
      max_tokens: 8,
      messages: [{ role: "user", content: [{ type: "image", source: { type: "url", url } }] }],
    }),
  ],
  [
    "/v1/chat",
    (model, url) => ({
      model,
      messages: [{ role: "user", content: [{ type: "image_url", image_url: { url } }] }],
    }),
  ],
];

const ask = (path: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${setting.weir.url}${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${setting.weir.key}`, "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

test.each(vendorNames)(
  "a picture by URL makes no connection, before %s",
  async (vendor) => {
    for (const [path, body] of bodies) {
      const statuses = await Promise.all(
        urls().map(async (url) => {
          const answer = await ask(path, body(`${vendor}/m`, url));
          await answer.arrayBuffer();
          return answer.status;
        }),
      );
      // Answered by the provider, or refused because it takes no URLs; nothing fails for want of an answer from elsewhere.
      for (const status of statuses) expect([200, 400]).toContain(status);
    }
    expect(connections).toBe(0);
  },
  120_000,
);

const fields = [
  "api_base",
  "base_url",
  "baseURL",
  "api_url",
  "endpoint",
  "custom_host",
  "callback",
  "callback_url",
  "webhook",
  "webhook_url",
  "proxy",
  "redirect",
];
const names = [
  "x-api-base",
  "x-base-url",
  "x-custom-host",
  "x-portkey-custom-host",
  "helicone-target-url",
  "helicone-openai-api-base",
  "x-target-url",
  "x-original-url",
  "x-rewrite-url",
  "x-forwarded-host",
  "x-host",
  "forwarded",
  "via",
  "referer",
  "origin",
  "x-webhook-url",
  "proxy",
  "destination",
];

test("what others take for a base URL, a callback or a host is not read from bodies, headers or queries", async () => {
  const address = `http://127.0.0.1:${port}`;
  const body = { model: `${vendorNames[0]}/m`, messages: [{ role: "user", content: "hi" }] };
  const calls = [
    ...fields.map((field) => ask("/v1/chat/completions", { ...body, [field]: address })),
    ...fields.map((field) => ask("/v1/chat/completions", { ...body, metadata: { [field]: address } })),
    ...fields.map((field) => ask(`/v1/chat/completions?${field}=${encodeURIComponent(address)}`, body)),
    ...names.map((name) =>
      ask("/v1/chat/completions", body, { [name]: name === "forwarded" ? `host="${address}"` : address }),
    ),
  ];
  for (const call of calls) {
    const answer = await call;
    await answer.arrayBuffer();
    expect([200, 400]).toContain(answer.status);
  }
  expect(connections).toBe(0);
});

test("the canary hears whoever connects", async () => {
  await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow("fetch failed");
  expect(connections).toBeGreaterThan(0);
});
