import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { WeirError } from "@weir/kit/weir-error";
import type { HeaderList } from "../http/exchange.ts";
import type { OpenCall, Route } from "../routes/route.ts";
import type { PublicMethod } from "../rpc/public-methods.ts";
import type { OpenApiDocument } from "./document.ts";

export interface PagesDeps {
  /** All routes of the port, those of the pages among them. */
  readonly routes: () => readonly Route[];
  readonly methods: readonly PublicMethod[];
  readonly version: string;
}

/** Something that is answered as it is. */
interface Served {
  readonly headers: HeaderList;
  readonly body: Buffer;
  readonly tag: string;
}

// No inline script and nothing of another host. Swagger UI puts styles into its elements, and pictures into data: URLs.
const docsPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const readingPolicy =
  "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const plainPolicy = "default-src 'none'; frame-ancestors 'none'";

const docsHtml = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Weir API</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="docs"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/docs-page.js"></script></body>
</html>
`;

const script = "text/javascript; charset=utf-8";
const style = "text/css; charset=utf-8";
const html = "text/html; charset=utf-8";

/**
 * `/openapi.json`, the page to try it at `/docs` and the page to read it at `/redoc`. All of it is made or read when it is first asked for,
 * and comes from this machine.
 */
export function createPages(deps: PagesDeps): Route[] {
  const once = new Map<string, Promise<Served>>();
  const files = new Map<string, () => Served>([
    ["swagger-ui.css", () => served(style, plainPolicy, swaggerFile("swagger-ui.css"))],
    ["swagger-ui-bundle.js", () => served(script, plainPolicy, swaggerFile("swagger-ui-bundle.js"))],
    ["docs-page.js", () => served(script, plainPolicy, ownFile("docs-page.js"))],
    ["reading.css", () => served(style, plainPolicy, ownFile("reading.css"))],
  ]);

  const document = async (): Promise<OpenApiDocument> => {
    // Words of 160 KB that a gateway whose documentation nobody reads need not hold.
    const [{ buildDocument }, { comments }] = await Promise.all([
      import("./document.ts"),
      import("@weir/gen/weir/comments"),
    ]);
    return buildDocument({ routes: deps.routes(), methods: deps.methods, version: deps.version, comments });
  };

  function answering(name: string, make: () => Promise<Served> | Served): (call: OpenCall) => Promise<void> {
    return async ({ exchange }) => {
      let made = once.get(name);
      if (made === undefined) {
        made = Promise.resolve().then(make);
        once.set(name, made);
        // Whoever asks next tries again.
        made.catch(() => once.delete(name));
      }
      const { headers, body, tag } = await made;
      const isKnown = hasTag(exchange.request.headers["if-none-match"], tag);
      exchange.answer(isKnown ? 304 : 200, headers, isKnown ? "" : body);
    };
  }

  const open = (path: string, handle: Extract<Route, { access: "open" }>["handle"]): Route => ({
    method: "GET",
    path,
    label: path,
    access: "open",
    handle,
  });
  return [
    open(
      "/openapi.json",
      answering("document", async () =>
        served("application/json; charset=utf-8", plainPolicy, Buffer.from(JSON.stringify(await document()))),
      ),
    ),
    open(
      "/docs",
      answering("docs", () => served(html, docsPolicy, Buffer.from(docsHtml))),
    ),
    open("/docs/{file}", (call) => {
      const name = call.params["file"] ?? "";
      const file = files.get(name);
      if (file === undefined) throw new WeirError(ErrorReason.NOT_FOUND);
      return answering(`docs/${name}`, file)(call);
    }),
    open(
      "/redoc",
      answering("redoc", async () => {
        const { readingPage } = await import("./reading.ts");
        return served(html, readingPolicy, Buffer.from(readingPage(await document())));
      }),
    ),
  ];
}

/** Whether a client has what it asks for, which a proxy may have compressed. https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2 */
function hasTag(known: string | undefined, tag: string): boolean {
  return (known ?? "").split(",").some((each) => each.trim().replace(/^W\//, "") === tag);
}

function served(type: string, policy: string, body: Buffer): Served {
  const tag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 24)}"`;
  const headers = [
    "content-type",
    type,
    "etag",
    tag,
    "cache-control",
    "public, max-age=300",
    "content-security-policy",
    policy,
    "x-content-type-options",
    "nosniff",
    "referrer-policy",
    "no-referrer",
  ];
  return { headers, body, tag };
}

function swaggerFile(name: string): Buffer {
  const require = createRequire(import.meta.url);
  return readFileSync(join(dirname(require.resolve("@fastify/swagger-ui/package.json")), "static", name));
}

function ownFile(name: string): Buffer {
  return readFileSync(join(import.meta.dirname, name));
}
