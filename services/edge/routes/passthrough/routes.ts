import { callsModels, type Route, versioned, versionedAsOpenai } from "../route.ts";
import { createPassthrough, type PassthroughDeps } from "./handler.ts";
import { operations } from "./operations.ts";

/** What passes through to providers: images, audio, moderations, rerank, files and what is made of them. */
export function createPassthroughRoutes(deps: PassthroughDeps): Route[] {
  return operations.flatMap((operation) => {
    const handle = createPassthrough(deps, operation);
    const { method, path } = operation;
    const route = { method, path, access: callsModels(operation.endpoint), handle };
    if (path !== "/rerank") return versionedAsOpenai(route);
    // Cohere's clients put its version before it: https://docs.cohere.com/reference/rerank
    return [...versioned(route), { ...route, path: "/v2/rerank", label: "/v2/rerank" }];
  });
}
