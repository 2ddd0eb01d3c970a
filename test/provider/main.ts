import { parseArgs } from "node:util";
import { readScript } from "./script.ts";
import { createSimulator } from "./simulator.ts";

const help = `Usage: node test/provider/main.ts [options]

Serves OpenAI chat completions without a model: deterministic answers, scripted faults, its own count of what it served.

  --port <n>         port to listen on; 0 takes a free one (default 9100)
  --host <name>      address to listen on (default 127.0.0.1)
  --count <file>     append one line of JSON for each served request to this file
  --no-count         keep no count: for benchmarks
  --seed <n>         storm: some requests meet a fault, in an order that the seed determines
  --fault-percent <n>  share of requests that the storm hits (default 10)
  --script <json>    what happens to every request that says nothing else, such as {"gapMs":20,"tokens":100}
  --model <name>     a model to list; may be given several times (default weir-demo)
  --help             this text

A request scripts itself by headers (x-sim-gap-ms: 20) or by a member of its body ("x_sim": {"gapMs": 20}); see
test/provider/script.ts for all members. GET /sim/counts and /sim/attempts/<x-client-request-id> show the count.
`;

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "9100" },
    host: { type: "string", default: "127.0.0.1" },
    count: { type: "string" },
    "no-count": { type: "boolean", default: false },
    seed: { type: "string" },
    "fault-percent": { type: "string", default: "10" },
    script: { type: "string" },
    model: { type: "string", multiple: true },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  process.stdout.write(help);
} else {
  const simulator = createSimulator({
    counting: !values["no-count"],
    ...(values.count === undefined ? {} : { countFile: values.count }),
    ...(values.seed === undefined ? {} : { seed: Number(values.seed), faultPercent: Number(values["fault-percent"]) }),
    ...(values.script === undefined ? {} : { script: readScript(JSON.parse(values.script)) }),
    ...(values.model === undefined ? {} : { models: values.model }),
  });
  const { url } = await simulator.listen({ host: values.host, port: Number(values.port) });
  process.stdout.write(`simulator: ${url}/v1\n`);
  const stop = () => {
    void simulator.close().then(() => process.exit(0));
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
}
