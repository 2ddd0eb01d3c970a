// `node tools/node.cjs FILE ARGUMENT...` runs a TypeScript file on a Node that is new enough: this one, else the one that
// the lockfile brings. npm puts that one first on PATH too, but some of its versions lose the link when several packages
// bring a program of the same name. Plain JavaScript that every Node reads which runs npm.
"use strict";

const { spawn } = require("node:child_process");
const { existsSync } = require("node:fs");
const { join, resolve } = require("node:path");
const { pathToFileURL } = require("node:url");

const [file = "", ...args] = process.argv.slice(2);
const path = resolve(file);
const leastMajor = 24;

if (Number(process.versions.node.split(".")[0]) >= leastMajor) {
  process.argv.splice(1, 2, path);
  void import(pathToFileURL(path).href);
} else {
  const platform = `${process.platform === "win32" ? "win" : process.platform}-${process.arch}`;
  const program = process.platform === "win32" ? "bin/node.exe" : "bin/node";
  const found = [`node-${platform}`, `node-bin-${platform}`]
    .map((name) => join(__dirname, "..", "node_modules", name, program))
    .find((candidate) => existsSync(candidate));
  if (found === undefined) {
    console.error(
      `Node ${leastMajor} or later is needed; this is ${process.version}. \`npm ci\` brings one for most platforms.`,
    );
    process.exit(1);
  }
  // The channel tells the child when this process is gone, however it ended.
  const child = spawn(found, [path, ...args], { stdio: ["inherit", "inherit", "inherit", "ipc"] });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code === null ? 1 : code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
