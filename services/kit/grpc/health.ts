import type { ServiceImpl } from "@connectrpc/connect";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "@weir/gen/grpc/health/v1/health_pb";
import { type HostedService, hostService } from "../call.ts";
import { WeirError } from "../weir-error.ts";

/** https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
export interface HealthService {
  readonly hosted: HostedService;
  /** From now on nothing is served: load balancers and `Watch` callers turn away. */
  shutdown(): void;
}

/** Health of each service by its full name; `""` stands for the process. All serve until `shutdown`. */
export function createHealth(serviceNames: readonly string[]): HealthService {
  const names = new Set(["", ...serviceNames]);
  let serving = true;
  const watchers = new Set<() => void>();
  const statusOf = (name: string) => {
    if (!names.has(name)) return ServingStatus.SERVICE_UNKNOWN;
    return serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  const implementation: ServiceImpl<typeof Health> = {
    check({ service }) {
      if (!names.has(service)) throw new WeirError(ErrorReason.NOT_FOUND, { text: "No such service is served here." });
      return { status: statusOf(service) };
    },
    list: () => ({ statuses: Object.fromEntries([...names].map((name) => [name, { status: statusOf(name) }])) }),
    async *watch({ service }, { signal }) {
      yield { status: statusOf(service) };
      if (serving) {
        await changed(signal);
        yield { status: statusOf(service) };
      }
      await new Promise<never>((_, reject) => {
        onAbort(signal, () => reject(signal.reason as Error));
      });
    },
  };

  function changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      watchers.add(resolve);
      onAbort(signal, () => {
        watchers.delete(resolve);
        reject(signal.reason as Error);
      });
    });
  }

  return {
    hosted: hostService(Health, implementation),
    shutdown() {
      serving = false;
      for (const tell of watchers) tell();
      watchers.clear();
    },
  };
}

function onAbort(signal: AbortSignal, call: () => void): void {
  if (signal.aborted) call();
  else signal.addEventListener("abort", call, { once: true });
}
