import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, Server, ServerCredentials } from "@grpc/grpc-js";
import {
  ListRoutesRequestSchema,
  type ListRoutesResponse,
  ListRoutesResponseSchema,
} from "@weir/gen/weir/routing/v1/route_service_pb";

// One end of a measured gRPC call: `server` answers like a gateway of two aliases, and nothing else; `client ADDRESS KEY` makes as many
// calls as each line of its input says, so many at once, and writes a line when they are done.

const path = "/weir.routing.v1.RouteService/ListRoutes";
const [role, address = "", key = ""] = process.argv.slice(2);
const atOnce = 16;

function serve(): void {
  const answer = create(ListRoutesResponseSchema, {
    routes: ["bench", "paced"].map((alias) => ({
      name: `routes/${alias}`,
      alias,
      targets: [{ provider: "upstream", model: "bench-model" }],
      createTime: { seconds: 1_700_000_000n },
    })),
  });
  const server = new Server();
  const definition = {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: () => Buffer.alloc(0),
    requestDeserialize: (bytes: Buffer) => fromBinary(ListRoutesRequestSchema, bytes),
    responseSerialize: (message: ListRoutesResponse) => Buffer.from(toBinary(ListRoutesResponseSchema, message)),
    responseDeserialize: (bytes: Buffer) => bytes,
  } as const;
  server.addService(
    { listRoutes: definition },
    {
      listRoutes: (_call: unknown, callback: (error: null, message: ListRoutesResponse) => void) =>
        callback(null, answer),
    },
  );
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error !== null) throw error;
    console.log(`serving on 127.0.0.1:${port}`);
  });
}

async function call(): Promise<void> {
  const client = new Client(address, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  const asIs = (bytes: Buffer): Buffer => bytes;
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, asIs, asIs, Buffer.alloc(0), metadata, (error) => {
        if (error === null) resolve();
        else reject(error);
      });
    });
  for await (const line of process.stdin.setEncoding("utf8")) {
    let left = Number(line);
    const work = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        await one();
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
    console.log("done");
  }
  client.close();
}

if (role === "server") serve();
else await call();
