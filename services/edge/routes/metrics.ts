import type { IncomingMessage } from "node:http";
import { Permission } from "@weir/gen/weir/common/v1/access_pb";
import type { Authenticate } from "../auth/authenticate.ts";
import { authorise } from "../auth/authorise.ts";
import type { Access, OpenCall } from "./route.ts";

export interface MetricsDeps {
  /** Everything that was measured, in Prometheus' text format. */
  readonly renderMetrics: () => Promise<string>;
  readonly authenticate: Authenticate;
}

/** They tell of all tenants together. */
export const metricsAccess: Access = { permission: Permission.GATEWAY_READ, endpoint: "health" };

const textHeaders = ["content-type", "text/plain; version=0.0.4; charset=utf-8", "cache-control", "no-store"];

/**
 * Answers `/metrics`: to every caller of a port of its own, to callers on this machine, and to whoever may read how the
 * gateway is doing.
 */
export function createMetrics({ renderMetrics, authenticate }: MetricsDeps) {
  async function answer({ exchange }: OpenCall): Promise<void> {
    exchange.answer(200, textHeaders, await renderMetrics());
  }
  return {
    open: answer,
    async guarded(call: OpenCall): Promise<void> {
      const { request, socket } = call.exchange;
      if (!isLocal(request)) authorise(await authenticate(request.headers, socket.remoteAddress), metricsAccess);
      return answer(call);
    },
  };
}

/** Whether a call was made on this machine, and not passed on by a proxy on it. */
function isLocal({ headers, socket }: IncomingMessage): boolean {
  if (headers["x-forwarded-for"] !== undefined || headers["forwarded"] !== undefined) return false;
  const { remoteAddress } = socket;
  return remoteAddress === "::1" || /^(?:::ffff:)?127\./.test(remoteAddress ?? "");
}
