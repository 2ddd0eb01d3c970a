import { isIP } from "node:net";
import { checkServerIdentity, type ConnectionOptions } from "node:tls";
import { Code } from "@connectrpc/connect";
import { ChannelCredentials, type ChannelOptions, logVerbosity, setLogVerbosity } from "@grpc/grpc-js";

// grpc-js writes plain lines to stderr of what it also says by errors and states, which are logged as all else is.
setLogVerbosity(logVerbosity.NONE);

/** Mutual TLS: PEM texts, and who may call. `ca`, `cert` and `key` are read anew for each connection. */
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
  /** Who processes are to each other. Undefined: what the names above and below say. */
  readonly identities?: MeshIdentities | undefined;
  /** Takes what is to be called whenever `ca`, `cert` or `key` have changed. Undefined: they never do. */
  readonly onRenewed?: ((renewed: () => void) => void) | undefined;
  /** The name that servers' certificates must have. Undefined: the host of their address. */
  readonly serverName?: string | undefined;
}

/**
 * Identities by the convention of SPIFFE: a process that is the service `router` has a certificate with the URI
 * `spiffe://<trust domain>/router` among its subject alternative names, and one of several services several of them.
 * https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md
 */
export interface MeshIdentities {
  readonly trustDomain: string;
  /** Whether a process that is these services may call a method, `weir.chat.v1.ChatService/Generate`. */
  readonly mayCall: (services: readonly string[], method: string) => boolean;
}

/** As TlsOptions; a server without authorities asks its callers for no certificate. */
export interface ServerTlsOptions extends Pick<TlsOptions, "cert" | "key" | "callers" | "identities" | "onRenewed"> {
  readonly ca?: Buffer | undefined;
}

/** What a server shows, and whom it asks for a certificate. */
export function contextOf({ ca, cert, key }: ServerTlsOptions) {
  return { ca, cert, key };
}

/** What a channel of grpc-js needs to know who it is and whom it speaks to. */
export interface ChannelIdentity {
  readonly credentials: ChannelCredentials;
  readonly options: ChannelOptions;
}

/**
 * The client's side of a link.
 * @param host as in `channelIdentity`
 * @param service what the server must be, where processes have identities
 */
export function callerTls(tls: TlsOptions, host: string, service: string): ConnectionOptions {
  const name = tls.serverName ?? host;
  const { identities } = tls;
  return {
    ca: tls.ca,
    cert: tls.cert,
    key: tls.key,
    ALPNProtocols: ["h2"],
    // Who has the identity is the service, wherever it runs.
    checkServerIdentity: (_name, certificate) =>
      identities === undefined
        ? checkServerIdentity(name, certificate)
        : checkService(identities, certificate.subjectaltname, service),
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

function checkService({ trustDomain }: MeshIdentities, names: string | undefined, service: string): Error | undefined {
  if (servicesOf(subjectNames(names ?? ""), trustDomain).includes(service)) return undefined;
  return new Error(`the certificate is not that of spiffe://${trustDomain}/${service}`);
}

/** A gRPC status that refuses a caller. */
export interface Refusal {
  readonly code: Code;
  readonly details: string;
}

/** How a server stands to one caller. */
export interface Standing {
  /** Why it may call nothing; undefined when it may call something. */
  readonly refused: Refusal | undefined;
  /** Whether it may call a method, `weir.chat.v1.ChatService/Generate`. */
  readonly mayCall: (method: string) => boolean;
}

const welcome: Standing = { refused: undefined, mayCall: () => true };
const unknownPeer: Standing = {
  refused: { code: Code.Unauthenticated, details: "the certificate names no peer that may call" },
  mayCall: () => false,
};

/** Judges a caller by its certificate. @param alternativeNames the subject alternative names in it, as Node writes them; undefined: none */
export function standingOf(tls: ServerTlsOptions | undefined, alternativeNames: string | undefined): Standing {
  if (tls === undefined || (tls.callers === undefined && tls.identities === undefined)) return welcome;
  const { callers, identities } = tls;
  const names = subjectNames(alternativeNames ?? "");
  if (callers !== undefined && !names.some((name) => callers.includes(name))) return unknownPeer;
  if (identities === undefined) return welcome;
  const services = servicesOf(names, identities.trustDomain);
  if (services.length === 0) return unknownPeer;
  return { refused: undefined, mayCall: (method) => identities.mayCall(services, method) };
}

/** Why a caller may not call a method; undefined when it may. */
export function refusal({ refused, mayCall }: Standing, method: string): Refusal | undefined {
  if (refused !== undefined || mayCall(method)) return refused;
  return { code: Code.PermissionDenied, details: notForThisPeer };
}

/** What a caller reads that is of the mesh, and not among those that a method is for. */
export const notForThisPeer = "the certificate is of a service that may not call this method";

/** The services that a certificate names by URIs of a trust domain. */
function servicesOf(names: readonly string[], trustDomain: string): readonly string[] {
  const prefix = `spiffe://${trustDomain}/`;
  return names.flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []));
}

/** From Node's text, `DNS:router, URI:spiffe://weir/router`; quoted values are nobody's name. */
function subjectNames(text: string): string[] {
  return text.split(", ").flatMap((entry) => {
    const match = /^(?:DNS|URI|IP Address):([^"]+)$/.exec(entry);
    return match?.[1] === undefined ? [] : [match[1]];
  });
}
