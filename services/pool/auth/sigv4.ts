import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";

/** An identity of AWS's. Never log it. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken?: string;
}

/** A POST to sign. */
export interface PostToSign {
  /** Scheme, host and, unless it is the scheme's own, port: `https://bedrock-runtime.us-east-1.amazonaws.com`. */
  readonly origin: string;
  /** As it is sent, escaped once. AWS signs it escaped once more. */
  readonly path: string;
  /** As it is sent, without the question mark. */
  readonly query?: string;
  /** Headers to sign besides `host`: name, value, name, value. Leave out what may change on the way. */
  readonly headers: readonly string[];
  readonly body: Uint8Array;
}

/** Where a signature is valid. */
export interface SigningScope {
  readonly region: string;
  /** The service's name in signatures: `bedrock`, also for hosts that begin with `bedrock-runtime`. */
  readonly service: string;
}

/**
 * Signs a request as AWS wants it, with the hash of the whole body.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 * @param nowMs the time of the signature, milliseconds since 1970; AWS refuses one that is five minutes off
 * @returns headers to add to the request: name, value, name, value
 */
export async function signPost(
  request: PostToSign,
  scope: SigningScope,
  credentials: AwsCredentials,
  nowMs: number,
): Promise<string[]> {
  const { protocol, host, hostname } = new URL(request.origin);
  const signer = new SignatureV4({ credentials, ...scope, sha256: Sha256, applyChecksum: false });
  const signed = await signer.sign(
    {
      method: "POST",
      protocol,
      hostname,
      path: request.path,
      query: queryOf(request.query ?? ""),
      headers: { ...headersOf(request.headers), host },
      body: request.body,
    },
    { signingDate: new Date(nowMs) },
  );
  return addedHeaders.flatMap((name) => {
    const value = signed.headers[name];
    return value === undefined ? [] : [name, value];
  });
}

const addedHeaders = ["authorization", "x-amz-date", "x-amz-security-token"] as const;

function headersOf(list: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let at = 0; at + 1 < list.length; at += 2) {
    const name = (list[at] ?? "").toLowerCase();
    const value = list[at + 1] ?? "";
    headers[name] = headers[name] === undefined ? value : `${headers[name]},${value}`;
  }
  return headers;
}

function queryOf(query: string): Record<string, string[]> {
  const members: Record<string, string[]> = {};
  for (const [name, value] of new URLSearchParams(query)) (members[name] ??= []).push(value);
  return members;
}

/** The library's interface over Node's own SHA-256: in JavaScript a body of 10 MiB would hold everything up for 0.2 s. */
class Sha256 {
  readonly #secret: string | Uint8Array | undefined;
  #hash: ReturnType<typeof createHash> | ReturnType<typeof createHmac>;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    this.#secret = secret === undefined ? undefined : asKey(secret);
    this.#hash = this.#begin();
  }

  update(data: Uint8Array): void {
    this.#hash.update(data);
  }

  digest(): Promise<Uint8Array> {
    return Promise.resolve(this.#hash.digest());
  }

  reset(): void {
    this.#hash = this.#begin();
  }

  #begin() {
    return this.#secret === undefined ? createHash("sha256") : createHmac("sha256", this.#secret);
  }
}

function asKey(secret: string | ArrayBuffer | ArrayBufferView): string | Uint8Array {
  if (typeof secret === "string") return secret;
  return ArrayBuffer.isView(secret)
    ? new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength)
    : new Uint8Array(secret);
}
