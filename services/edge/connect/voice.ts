import type { IncomingMessage } from "node:http";
import type { ConnectError } from "@connectrpc/connect";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  endStreamFlag,
  errorToJson,
  parseContentType as parseConnectType,
} from "@connectrpc/connect/protocol-connect";
import { setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { parseContentType as parseWebType } from "@connectrpc/connect/protocol-grpc-web";
import { renderError } from "@weir/dialect/openai/errors";
import { toConnectError, type WeirError } from "@weir/kit/weir-error";
import type { ErrorVoice } from "../http/exchange.ts";

/** How failures are told that come before a call's own handler: as the protocol wants it that the request is written in. */
export function voiceOfRequest({ headers }: IncomingMessage): ErrorVoice {
  const type = headers["content-type"] ?? "";
  const web = parseWebType(type);
  if (web !== undefined) return grpcWebVoice(type, web.text);
  const connect = parseConnectType(type);
  return connect?.stream === true ? streamVoice(type) : unaryVoice;
}

/** https://connectrpc.com/docs/protocol/#error-end-stream */
const unaryVoice: ErrorVoice = {
  renderError(error) {
    const { headers } = renderError(error);
    const connectError = toConnectError(error);
    return {
      status: codeToHttpStatus(connectError.code),
      headers: { ...headers, "content-type": "application/json" },
      body: JSON.stringify(errorToJson(connectError, undefined)),
    };
  },
  renderErrorEvent: () => "",
};

/** https://connectrpc.com/docs/protocol/#streaming-response */
function streamVoice(contentType: string): ErrorVoice {
  return {
    renderError: (error) => ({ status: 200, headers: { "content-type": contentType }, body: endOfStream(error) }),
    renderErrorEvent: endOfStream,
  };
}

function endOfStream(error: WeirError): Uint8Array {
  return encodeEnvelope(
    endStreamFlag,
    Buffer.from(JSON.stringify({ error: errorToJson(toConnectError(error), undefined) })),
  );
}

/** https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md */
const trailersFlag = 0x80;

function grpcWebVoice(contentType: string, isText: boolean): ErrorVoice {
  return {
    // An answer of nothing but trailers has them in its head.
    renderError: (error) => ({
      status: 200,
      headers: { "content-type": contentType, ...Object.fromEntries(trailersOf(toConnectError(error))) },
      body: "",
    }),
    renderErrorEvent(error) {
      const lines = [...trailersOf(toConnectError(error))].map(([name, value]) => `${name}: ${value}\r\n`);
      const frame = Buffer.from(encodeEnvelope(trailersFlag, Buffer.from(lines.join(""))));
      return isText ? frame.toString("base64") : frame;
    },
  };
}

function trailersOf(error: ConnectError): Headers {
  const trailers = new Headers();
  setTrailerStatus(trailers, error);
  return trailers;
}
