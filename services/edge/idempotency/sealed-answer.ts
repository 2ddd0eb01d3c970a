import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type StoredAnswer, StoredAnswerSchema } from "@weir/gen/weir/idempotency/v1/idempotency_service_pb";

const algorithm = "aes-256-gcm";
const ivBytes = 12;
const tagBytes = 16;

/** What stands for a request in the store, where nobody can read it. */
export interface RequestSeal {
  /** 32 bytes that stand for caller, route and idempotency key. */
  readonly keyId: Buffer;
  /** Encrypts an answer. */
  close(answer: MessageInitShape<typeof StoredAnswerSchema>): Buffer;
  /** Undefined for what was not encrypted for the same request, under the same secret. */
  open(sealed: Uint8Array): StoredAnswer | undefined;
}

/**
 * Answers are encrypted under a key that is made of the gateway's secret and the client's own idempotency key, of which the
 * store has a keyed hash alone: whoever reads the store, and even has the secret, reads no answer.
 * @param parts caller, route and idempotency key
 */
export function createRequestSeal(secret: Uint8Array, parts: readonly string[]): RequestSeal {
  const text = JSON.stringify(parts);
  const keyId = digestOf(secret, "key", [text]);
  const key = Buffer.from(hkdfSync("sha256", secret, keyId, `weir idempotent answer ${text}`, 32));
  return {
    keyId,
    close(answer) {
      const iv = randomBytes(ivBytes);
      const cipher = createCipheriv(algorithm, key, iv, { authTagLength: tagBytes });
      cipher.setAAD(keyId);
      const plain = toBinary(StoredAnswerSchema, create(StoredAnswerSchema, answer));
      const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
      return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
    },
    open(sealed) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
      try {
        const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, ivBytes), { authTagLength: tagBytes });
        decipher.setAAD(keyId);
        decipher.setAuthTag(bytes.subarray(ivBytes, ivBytes + tagBytes));
        const plain = Buffer.concat([decipher.update(bytes.subarray(ivBytes + tagBytes)), decipher.final()]);
        return fromBinary(StoredAnswerSchema, plain);
      } catch {
        return undefined;
      }
    },
  };
}

/** 32 bytes that stand for what is asked for. */
export function digestOf(secret: Uint8Array, purpose: string, parts: readonly (string | Uint8Array)[]): Buffer {
  const hmac = createHmac("sha256", secret).update(`weir idempotency ${purpose}\n`);
  for (const part of parts) hmac.update(`${Buffer.byteLength(part)}\n`).update(part);
  return hmac.digest();
}
