import { flushCompileCache } from "node:module";

// Loaded into a process before anything else (`node --import`): what it has compiled is kept for those that are started later,
// though it will be killed and so never keep it by itself. Node reads NODE_COMPILE_CACHE; without it nothing happens.
setTimeout(flushCompileCache, 3_000).unref();
