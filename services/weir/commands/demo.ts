import { createSimulator } from "@weir/simulator/simulator";
import { Command } from "commander";
import { demoModel } from "../discovery.ts";
import { portNumber } from "./start.ts";

export function demoCommand(): Command {
  return new Command("demo")
    .description("serve the demo provider: OpenAI's chat completions without a model")
    .option("--host <host>", "address to listen on", "127.0.0.1")
    .option("--port <port>", "port to listen on; 0: any free one", portNumber, 9100)
    .addHelpText("after", "\nExample:\n  weir demo --port 9100")
    .action(async (chosen: { host: string; port: number }) => {
      const { createLifecycle } = await import("@weir/kit/lifecycle");
      const { createLog } = await import("@weir/kit/log");
      const log = createLog({ service: "demo", level: "info" });
      const simulator = createSimulator({ counting: false, scripting: false, models: [demoModel] });
      const { url } = await simulator.listen(chosen);
      createLifecycle({ log }).onStop("requests", 10_000, () => simulator.close());
      log.info({ url }, "the demo provider listens");
    });
}
