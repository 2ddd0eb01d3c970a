import { ChannelCredentials, logVerbosity, ServerCredentials, setLogVerbosity, status } from "@grpc/grpc-js";

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

/** The server's side; callers must show a certificate. */
export function serverCredentials(tls: TlsOptions | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  return ServerCredentials.createSsl(tls.ca, [{ cert_chain: tls.cert, private_key: tls.key }], true);
}

/** The client's side. */
export function channelCredentials(tls: TlsOptions | undefined): ChannelCredentials {
  if (tls === undefined) return ChannelCredentials.createInsecure();
  return ChannelCredentials.createSsl(tls.ca, tls.key, tls.cert);
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
export function refusal(tls: TlsOptions | undefined, call: Authenticated): Refusal | undefined {
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
