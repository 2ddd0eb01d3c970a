import { createHash, createHmac, type Hash, type Hmac } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { SignatureV4 } from "@smithy/signature-v4";

/** The access key that the simulated Bedrock knows; AWS's own example. */
export const signingKey = {
  region: "eu-central-1",
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
} as const;

const longestSkewMs = 300_000;

/**
 * Whether a call is signed with that key: AWS's own library signs the same call again, and must come to the same.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export function isSigned(call: Call): Promise<boolean> {
  const { authorization = "", "x-amz-date": date } = call.headers;
  const signed = signedHeaders.exec(authorization)?.[1]?.split(";") ?? [];
  const time = typeof date === "string" ? Date.parse(date.replace(basicTime, "$1-$2-$3T$4:$5:$6Z")) : Number.NaN;
  // A signature that does not cover the host could be played back elsewhere.
  if (!signed.includes("host") || !(Math.abs(Date.now() - time) < longestSkewMs)) return Promise.resolve(false);
  return sign(call, signed, time).then((expected) => expected === authorization.replaceAll(/,\s*/g, ", "));
}

interface Call {
  readonly headers: IncomingHttpHeaders;
  readonly path: string;
  readonly body: Buffer;
}

const signedHeaders = /SignedHeaders=([a-z0-9;-]+)/;
const basicTime = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

async function sign(
  { headers, path, body }: Call,
  names: readonly string[],
  time: number,
): Promise<string | undefined> {
  const signer = new SignatureV4({
    service: "bedrock",
    region: signingKey.region,
    credentials: signingKey,
    sha256: Sha256,
    applyChecksum: names.includes("x-amz-content-sha256"),
  });
  const again = await signer.sign(
    {
      method: "POST",
      protocol: "http:",
      hostname: "127.0.0.1",
      path,
      query: {},
      headers: Object.fromEntries(names.map((name) => [name, String(headers[name])])),
      body,
    },
    { signingDate: new Date(time), signableHeaders: new Set(names) },
  );
  return again.headers["authorization"];
}

/** SHA-256, with or without a key, as the library wants it. */
class Sha256 {
  private readonly hash: Hash | Hmac;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.hash = secret === undefined ? createHash("sha256") : createHmac("sha256", asBytes(secret));
  }

  update(data: string | ArrayBuffer | ArrayBufferView): void {
    this.hash.update(asBytes(data));
  }

  digest(): Promise<Uint8Array> {
    return Promise.resolve(this.hash.digest());
  }

  reset(): void {
    throw new Error("a hash is used once");
  }
}

function asBytes(data: string | ArrayBuffer | ArrayBufferView): Uint8Array {
  if (typeof data === "string") return Buffer.from(data);
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}
