import { isIP } from "node:net";
import { checkServerIdentity, type ConnectionOptions } from "node:tls";
import {
  ChannelCredentials,
  type ChannelOptions,
  logVerbosity,
  ServerCredentials,
  setLogVerbosity,
  status,
} from "@grpc/grpc-js";

// grpc-js writes plain lines to stderr of what it also says by errors and states, which are logged as all else is.
setLogVerbosity(logVerbosity.NONE);

/** Mutual TLS: PEM texts, and who may call. */
export interface TlsOptions {
  /** The authorities that both sides' certificates must come from. */
  readonly ca: Buffer;
  /** This process's certificate chain. */
  readonly cert: Buffer;
  readonly key: Buffer;
  /**
   * Names of which a caller's certificate must have one among its subject alternative names (`router`,
   * `spiffe://weir/router`). Undefined: every certificate of the authorities is welcome.
   */
  readonly callers?: readonly string[] | undefined;
  /** The name that servers' certificates must have. Undefined: the host of their address. */
  readonly serverName?: string | undefined;
}

/** As TlsOptions; a server without authorities asks its callers for no certificate. */
export interface ServerTlsOptions extends Pick<TlsOptions, "cert" | "key" | "callers"> {
  readonly ca?: Buffer | undefined;
}

/** The server's side; callers must show a certificate where there are authorities to sign it. */
export function serverCredentials(tls: ServerTlsOptions | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { cert_chain: tls.cert, private_key: tls.key };
  return ServerCredentials.createSsl(tls.ca ?? null, [pair], tls.ca !== undefined);
}

/** What a channel of grpc-js needs to know who it is and whom it speaks to. */
export interface ChannelIdentity {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

/**
 * The client's side of a link.
 * @param host as in `channelIdentity`
 */
export function callerTls(tls: TlsOptions, host: string): ConnectionOptions {
  const name = tls.serverName ?? host;
  return {
    ca: tls.ca,
    cert: tls.cert,
    key: tls.key,
    ALPNProtocols: ["h2"],
    checkServerIdentity: (_name, certificate) => checkServerIdentity(name, certificate),
    // The name that TLS announces cannot be an IP address: https://www.rfc-editor.org/rfc/rfc6066#section-3
    ...(isIP(name) === 0 && { servername: name }),
  };
}

/**
 * The client's side of a channel of grpc-js.
 * @param host the host of the server's address: a DNS name or an IP address
 */
export function channelIdentity(tls: TlsOptions | undefined, host: string): ChannelIdentity {
  if (tls === undefined) return { credentials: ChannelCredentials.createInsecure(), options: {} };
  const name = tls.serverName ?? host;
  const credentials = ChannelCredentials.createSsl(tls.ca, tls.key, tls.cert, {
    checkServerIdentity: (_name, certificate) => checkServerIdentity(name, certificate),
  });
  // Node refuses an IP address as the name that TLS announces, and grpc-js would announce one.
  const announced = isIP(name) === 0 ? name : "localhost";
  return { credentials, options: { "grpc.ssl_target_name_override": announced, "grpc.default_authority": announced } };
}

/** What grpc-js calls give of the caller's certificate. */
export interface Authenticated {
  getAuthContext(): { sslPeerCertificate?: { subjectaltname?: string } };
}

/** A gRPC status that refuses a caller. */
export interface Refusal {
  readonly code: status;
  readonly details: string;
}

/** Why a caller may not call; undefined when it may. */
export function refusal(tls: ServerTlsOptions | undefined, call: Authenticated): Refusal | undefined {
  if (tls?.callers === undefined) return undefined;
  const names = subjectNames(call.getAuthContext().sslPeerCertificate?.subjectaltname ?? "");
  if (names.some((name) => tls.callers?.includes(name))) return undefined;
  return { code: status.UNAUTHENTICATED, details: "the certificate names no peer that may call" };
}

/** From Node's text, `DNS:router, URI:spiffe://weir/router`; quoted values are nobody's name. */
function subjectNames(text: string): string[] {
  return text.split(", ").flatMap((entry) => {
    const match = /^(?:DNS|URI|IP Address):([^"]+)$/.exec(entry);
    return match?.[1] === undefined ? [] : [match[1]];
  });
}
