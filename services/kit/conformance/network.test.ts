import { fork, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client as GrpcClient, credentials } from "@grpc/grpc-js";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "@weir/gen/grpc/health/v1/health_pb";
import {
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
} from "@weir/gen/grpc/reflection/v1/reflection_pb";
import { ChatService } from "@weir/gen/weir/chat/v1/chat_service_pb";
import { Dialect } from "@weir/gen/weir/chat/v1/wire_pb";
import { ErrorReason } from "@weir/gen/weir/common/v1/error_reason_pb";
import { RouteService } from "@weir/gen/weir/routing/v1/route_service_pb";
import { afterEach, describe, expect, test } from "vitest";
import { createClient } from "../client.ts";
import { createGrpcDoor } from "../grpc/client.ts";
import { createMesh } from "../mesh.ts";
import { WeirError } from "../weir-error.ts";
import { call, cleanUp, cleanups, serve, spawn } from "./network.ts";
import { all, failure, textOf, until } from "./ways.ts";

afterEach(cleanUp);

const overloaded = { reason: ErrorReason.OVERLOADED, retryAfterMs: 1000 };

describe("a peer that is killed", () => {
  test("link: open calls fail at once, and a new process at the same address is found", async () => {
    const { child, address } = await spawn("first");
    const { chat, routes } = await call([address], { connectWaitMs: 10_000 });
    const stream = chat.generate({ model: "m" });
    expect(textOf((await stream.next()).value as never)).toBe("first");
    const pending = [failure(stream.next()), failure(routes.getRoute({ name: "routes/hang" }))];
    await new Promise((resolve) => setTimeout(resolve, 20));
    const start = performance.now();
    child.kill("SIGKILL");
    for (const error of await Promise.all(pending)) expect(error).toMatchObject(overloaded);
    expect(performance.now() - start).toBeLessThan(1000);
    await spawn("second", address);
    expect((await routes.getRoute({ name: "routes/a" })).route?.alias).toBe("second");
  });

  test("plain gRPC: open calls fail at once, and a new process is found", async () => {
    const { child, address } = await spawn("first");
    const door = createGrpcDoor({ address });
    cleanups.push(() => door.close());
    const chat = createClient(ChatService, door);
    const routes = createClient(RouteService, door);
    const stream = chat.generate({ model: "m" });
    await stream.next();
    const pending = [failure(stream.next()), failure(routes.getRoute({ name: "routes/hang" }))];
    await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill("SIGKILL");
    for (const error of await Promise.all(pending)) expect(error).toMatchObject({ reason: ErrorReason.OVERLOADED });
    await spawn("second", address);
    let alias = "";
    while (alias === "") {
      alias = await routes.getRoute({ name: "routes/a" }).then(
        (reply) => reply.route?.alias ?? "",
        () => "",
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(alias).toBe("second");
  });

  test("a peer that stops without a word is noticed", async () => {
    const { child, address } = await spawn("first");
    const { chat } = await call([address], { link: { pingIntervalMs: 100 } });
    const stream = chat.generate({ model: "m" });
    await stream.next();
    child.kill("SIGSTOP");
    expect(await failure(stream.next())).toMatchObject(overloaded);
  });

  test("a caller that is killed frees its handlers", async () => {
    const server = await serve("server");
    const child = fork(join(import.meta.dirname, "call.ts"), [server.address], { execArgv: [] });
    cleanups.push(() => child.kill("SIGKILL"));
    await new Promise((resolve) => child.once("message", resolve));
    child.kill("SIGKILL");
    await until(() => server.closed() === 1);
    expect(server.mesh.status().served).toEqual({ links: 0, calls: 0 });
  });
});

describe("no instance", () => {
  test("calls wait a little, then fail clearly; later ones fail at once", async () => {
    const { routes, mesh } = await call(["127.0.0.1:1"], { connectWaitMs: 200 });
    const start = performance.now();
    const error = await failure(routes.getRoute({ name: "routes/a" }));
    expect(error).toMatchObject(overloaded);
    expect(error.message).toContain("router cannot be reached");
    expect(performance.now() - start).toBeGreaterThan(150);
    const again = performance.now();
    expect(await failure(routes.getRoute({ name: "routes/a" }))).toBeInstanceOf(WeirError);
    expect(performance.now() - again).toBeLessThan(100);
    expect(mesh.status().peers["router"]?.[0]).toMatchObject({ state: expect.not.stringContaining("ready") as string });
  });

  test("a deadline holds while a call waits", async () => {
    const { routes } = await call(["127.0.0.1:1"], { connectWaitMs: 5000 });
    expect(await failure(routes.getRoute({ name: "routes/a" }, { timeoutMs: 50 }))).toMatchObject({
      reason: ErrorReason.DEADLINE_EXCEEDED,
    });
  });

  test("a service that is neither hosted nor known stops the start", async () => {
    const mesh = createMesh({ name: "caller" });
    mesh.client(RouteService, "router");
    await expect(mesh.start()).rejects.toThrow("router is neither hosted here nor among the peers");
  });
});

describe("several instances", () => {
  test("share the calls; when one is killed the other takes all", async () => {
    const [one, two] = [await spawn("one"), await spawn("two")];
    const { routes, mesh } = await call([one.address, two.address]);
    await until(() => mesh.status().peers["router"]?.every(({ state }) => state === "ready") === true);
    const counts: Record<string, number> = {};
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        const alias = (await routes.getRoute({ name: "routes/a" })).route?.alias ?? "";
        counts[alias] = (counts[alias] ?? 0) + 1;
      }),
    );
    expect(counts["one"]).toBeGreaterThan(20);
    expect(counts["two"]).toBeGreaterThan(20);
    one.child.kill("SIGKILL");
    await until(() => mesh.status().peers["router"]?.some(({ state }) => state !== "ready") === true);
    for (let index = 0; index < 20; index += 1) {
      expect((await routes.getRoute({ name: "routes/a" })).route?.alias).toBe("two");
    }
  });

  test("a DNS name stands for all its records", async () => {
    const server = await serve("server", { listen: "localhost:0" });
    const { routes } = await call([server.address]);
    expect((await routes.getRoute({ name: "routes/a" })).route?.alias).toBe("server");
  });
});

describe("drain", () => {
  test("an open stream goes on, new calls go to the other instance, and then the server is done", async () => {
    const [one, two] = [await serve("one"), await serve("two")];
    const { chat, routes, mesh } = await call([one.address]);
    const stream = chat.generate({ model: "m" });
    expect(textOf((await stream.next()).value as never)).toBe("one");

    const other = await call([one.address, two.address]);
    await until(() => other.mesh.status().peers["router"]?.every(({ state }) => state === "ready") === true);
    let drained = false;
    const draining = one.mesh.drain(10_000).then(() => (drained = true));
    await until(() => other.mesh.status().peers["router"]?.filter(({ state }) => state === "ready").length === 1);
    for (let index = 0; index < 20; index += 1) {
      expect((await other.routes.getRoute({ name: "routes/a" })).route?.alias).toBe("two");
    }
    expect(drained).toBe(false);
    expect(mesh.status().peers["router"]?.[0]).toMatchObject({ openCalls: 1 });
    one.finish();
    expect(await all(stream)).toEqual(["end"]);
    await draining;
    expect(await failure(routes.getRoute({ name: "routes/a" }))).toMatchObject(overloaded);
  });

  test("what outlasts the time is broken", async () => {
    const server = await serve("server");
    const { chat } = await call([server.address]);
    const stream = chat.generate({ model: "m" });
    await stream.next();
    const next = failure(stream.next());
    await server.mesh.drain(50);
    expect(await next).toMatchObject(overloaded);
    await until(() => server.closed() === 1);
  });

  test("while calls come all the time, none is lost", async () => {
    const [one, two] = [await serve("one"), await serve("two")];
    const { routes, mesh } = await call([one.address, two.address]);
    await until(() => mesh.status().peers["router"]?.every(({ state }) => state === "ready") === true);
    let going = true;
    let done = 0;
    const errors: unknown[] = [];
    const callers = Array.from({ length: 8 }, async () => {
      while (going) {
        await routes.getRoute({ name: "routes/a" }).then(
          () => (done += 1),
          (error: unknown) => errors.push(error),
        );
      }
    });
    await until(() => done > 50);
    await one.mesh.drain(5000);
    const after = done;
    await until(() => done > after + 50);
    going = false;
    await Promise.all(callers);
    expect(errors).toEqual([]);
  });
});

test("a large request does not hold its neighbours back", async () => {
  const server = await serve("server");
  const { chat, routes } = await call([server.address]);
  await routes.getRoute({ name: "routes/a" });
  const body = Buffer.alloc(30_000_000);
  let large = false;
  const request = { model: "m", wire: { dialect: Dialect.OPENAI_CHAT, body, model: { start: 1, end: 2 } } };
  const sent = all(chat.generate(request)).then(() => (large = true));
  await new Promise(setImmediate);
  for (let index = 0; index < 5; index += 1) await routes.getRoute({ name: "routes/a" });
  expect(large).toBe(false);
  await sent;
});

test("more metadata than a peer accepts fail the call, not the link", async () => {
  const server = await serve("server");
  const { routes, mesh } = await call([server.address]);
  await routes.getRoute({ name: "routes/a" });
  const metadata = { large: "x".repeat(70_000) };
  expect(await failure(routes.getRoute({ name: "routes/a" }, { metadata }))).toMatchObject({
    reason: ErrorReason.REQUEST_TOO_LARGE,
  });
  await routes.getRoute({ name: "routes/a" });
  expect(mesh.status().peers["router"]?.[0]).toMatchObject({ state: "ready", failures: 0, openCalls: 0 });
});

test("a unix socket", async () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const server = await serve("server", { listen: `unix:${folder}/s.sock` });
  const { routes } = await call([server.address]);
  expect((await routes.getRoute({ name: "routes/a" })).route?.alias).toBe("server");
});

test("a unix socket that a killed process left behind is taken over; one that is in use is not", async () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "s.sock");
  const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  expect(spawnSync(process.execPath, ["-e", script]).signal).toBe("SIGKILL");
  expect(existsSync(path)).toBe(true);
  const server = await serve("server", { listen: `unix:${path}` });
  await expect(serve("second", { listen: `unix:${path}` })).rejects.toThrow("EADDRINUSE");
  const { routes } = await call([server.address]);
  expect((await routes.getRoute({ name: "routes/a" })).route?.alias).toBe("server");
});

describe("for other people's clients", () => {
  test("metadata that gRPC cannot carry fail their call, and no more", async () => {
    const defects: unknown[] = [];
    const mesh = createMesh({ name: "server", listen: "127.0.0.1:0", onDefect: (defect) => defects.push(defect) });
    cleanups.push(() => mesh.close());
    mesh.host("router", RouteService, {
      getRoute({ name }, context) {
        if (name === "routes/headers") context.responseHeader.set("x-name", "\u00fc");
        if (name === "routes/trailers") context.responseTrailer.set("x-name", "\u00fc");
        return {};
      },
    });
    await mesh.start();
    const door = createGrpcDoor({ address: mesh.status().address ?? "" });
    cleanups.push(() => door.close());
    const routes = createClient(RouteService, door);
    for (const name of ["routes/headers", "routes/trailers"]) {
      expect(await failure(routes.getRoute({ name }))).toMatchObject({ reason: ErrorReason.INTERNAL });
    }
    expect(defects).toHaveLength(2);
    await routes.getRoute({ name: "routes/a" });
  });

  test("health, by service and as a whole, also while draining", async () => {
    const server = await serve("server");
    const door = createGrpcDoor({ address: server.address });
    cleanups.push(() => door.close());
    const health = createClient(Health, door);
    expect((await health.check({})).status).toBe(ServingStatus.SERVING);
    expect((await health.check({ service: ChatService.typeName })).status).toBe(ServingStatus.SERVING);
    expect(await failure(health.check({ service: "x" }))).toMatchObject({ reason: ErrorReason.NOT_FOUND });
    const watch = health.watch({ service: ChatService.typeName });
    expect((await watch.next()).value).toMatchObject({ status: ServingStatus.SERVING });
    const draining = server.mesh.drain(5000);
    expect((await watch.next()).value).toMatchObject({ status: ServingStatus.NOT_SERVING });
    await watch.return();
    await draining;
  });

  test("reflection lists the services and gives their files", async () => {
    const server = await serve("server");
    const client = new GrpcClient(server.address, credentials.createInsecure());
    cleanups.push(() => client.close());
    const asIs = (bytes: Buffer): Buffer => bytes;
    const stream = client.makeBidiStreamRequest(
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      asIs,
      asIs,
    );
    const replies = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
    const ask = async (messageRequest: { case: "listServices" | "fileContainingSymbol"; value: string }) => {
      const request = { $typeName: ServerReflectionRequestSchema.typeName, host: "", messageRequest } as const;
      stream.write(Buffer.from(toBinary(ServerReflectionRequestSchema, request)));
      const { value } = await replies.next();
      return fromBinary(ServerReflectionResponseSchema, value as Buffer).messageResponse;
    };
    const list = await ask({ case: "listServices", value: "" });
    const names = list.case === "listServicesResponse" ? list.value.service.map(({ name }) => name) : [];
    expect(names).toEqual(expect.arrayContaining([ChatService.typeName, RouteService.typeName, Health.typeName]));
    const files = await ask({ case: "fileContainingSymbol", value: "weir.chat.v1.ChatService.Generate" });
    const protos =
      files.case === "fileDescriptorResponse"
        ? files.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name)
        : [];
    expect(protos).toContain("weir/chat/v1/chat_service.proto");
    expect(protos).toContain("google/api/annotations.proto");
    stream.end();
  });
});
