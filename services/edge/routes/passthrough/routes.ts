import { callsModels, type Route, versioned } from "../route.ts";
import { createPassthrough, type PassthroughDeps } from "./handler.ts";
import { operations } from "./operations.ts";

/** What passes through to providers: images, audio, moderations, rerank, files and what is made of them. */
export function createPassthroughRoutes(deps: PassthroughDeps): Route[] {
  return operations.flatMap((operation) => {
    const handle = createPassthrough(deps, operation);
    const route = { method: operation.method, access: callsModels(operation.endpoint), handle };
    const routes = versioned({ ...route, path: operation.path });
    if (operation.path !== "/rerank") return routes;
    // Cohere's clients put its version before it: https://docs.cohere.com/reference/rerank
    return [...routes, { ...route, path: "/v2/rerank", label: "/v2/rerank" }];
  });
}
