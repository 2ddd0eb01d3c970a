import type { LoadResult } from "./load.ts";

/** One measurement. */
export interface Sample {
  readonly scenario: string;
  readonly candidate: string;
  /** CPU time of the processes that a request goes through, for one chat or one chunk, in microseconds. */
  readonly cpuUsPerUnit: number;
  /** CPU time of the ledger's processes, database included, in microseconds for one of the same. */
  readonly ledgerUsPerUnit: number;
  /** Resident memory over idle, in bytes; only in the scenario `memory`. */
  readonly memoryBytes?: number;
  readonly result: LoadResult;
}

/** What one way between two services costs, both ends together. */
export interface HopSample {
  readonly hop: string;
  readonly cpuUsPerCall: number;
  readonly cpuUsPerMessage: number;
}

/** What a unary gRPC call costs the process that answers it, in microseconds of CPU time. */
export interface GrpcSample {
  readonly bareUs: number;
  readonly edgeUs: number;
  /** Median over the pairs. */
  readonly ratio: number;
}

/** What metering costs the data plane beside a short chat through the bare Node proxy, in microseconds of CPU time. */
export interface MeteringSample {
  readonly bareUs: number;
  readonly meteredUs: number;
  /** With two budgets that are about the call. */
  readonly budgetedUs: number;
  /** Medians over the pairs. */
  readonly meteredRatio: number;
  readonly budgetedRatio: number;
}

/** Everything that one run measured. */
export interface Report {
  readonly date: string;
  readonly machine: { cores: number; cpu: string; memoryGiB: number; kernel: string; node: string };
  readonly settings: { rounds: number; seconds: number; rate: number; streams: number };
  readonly samples: readonly Sample[];
  readonly hops: readonly HopSample[];
  readonly grpc?: GrpcSample;
  readonly metering?: MeteringSample;
}

const yardstick = "bare Node proxy";

/** The middle value; NaN when there is none. */
export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

function of(report: Report, scenario: string, candidate: string): Sample[] {
  return report.samples.filter((sample) => sample.scenario === scenario && sample.candidate === candidate);
}

/** A scenario's measurements of one candidate, a round each. */
interface Rounds {
  readonly scenario: string;
  readonly candidate: string;
}

/** One / other, round by round, ascending: a drift of the machine's speed cancels out. */
function pairs(report: Report, one: Rounds, other: Rounds): number[] {
  const base = of(report, other.scenario, other.candidate);
  return of(report, one.scenario, one.candidate)
    .map((sample, round) => sample.cpuUsPerUnit / (base[round]?.cpuUsPerUnit ?? Number.NaN))
    .filter((ratio) => !Number.isNaN(ratio))
    .sort((x, y) => x - y);
}

/** Median and spread. */
function ratioText(ratios: readonly number[]): string {
  const [least, most] = [ratios[0], ratios.at(-1)];
  if (least === undefined || most === undefined) return "-";
  return `${number(median(ratios), 2)} (${number(least, 2)} to ${number(most, 2)})`;
}

/** Median over the rounds of candidate - other, pair by pair. */
function pairedDifference(
  report: Report,
  scenario: string,
  candidate: string,
  other: string,
  of_: (sample: Sample) => number,
): number {
  const base = of(report, scenario, other);
  return median(
    of(report, scenario, candidate).map(
      (sample, round) => of_(sample) - (base[round] === undefined ? Number.NaN : of_(base[round])),
    ),
  );
}

const number = (value: number, digits: number) => (Number.isNaN(value) ? "-" : value.toFixed(digits));

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

/** The report as Markdown tables. */
export function renderReport(report: Report): string {
  const names = [...new Set(report.samples.map((sample) => sample.candidate))].filter((name) => name !== "direct");
  const cpu = (sample: Sample) => sample.cpuUsPerUnit;
  const sections: string[] = [
    `${report.date}, ${report.machine.cores} cores (${report.machine.cpu}), ${report.machine.memoryGiB} GiB, Linux ${report.machine.kernel}, Node ${report.machine.node}; ` +
      `${report.settings.rounds} rounds, ${report.settings.rate} chats/s, ${report.settings.streams} streams of 20 chunks/s.`,
  ];
  const cost = (scenario: string, name: string) => [
    number(median(of(report, scenario, name).map(cpu)), 1),
    ratioText(pairs(report, { scenario, candidate: name }, { scenario, candidate: yardstick })),
    number(median(of(report, scenario, name).map((sample) => sample.ledgerUsPerUnit)), 1),
  ];
  if (of(report, "chat", yardstick).length + of(report, "streams", yardstick).length > 0) {
    sections.push(
      table(
        [
          "",
          "CPU for a short chat, us",
          "x bare",
          "ledger and its database, us",
          "CPU for a streamed chunk, us",
          "x bare",
          "ledger, us",
        ],
        names.map((name) => [name, ...cost("chat", name), ...cost("streams", name)]),
      ),
    );
  }
  const translating = names.filter((name) => of(report, "streams, translated", name).length > 0);
  if (translating.length > 0) {
    // The bare pipe translates nothing: a translated chunk is compared with one that passes it as bytes.
    const bare = { scenario: "streams", candidate: yardstick };
    sections.push(
      table(
        [
          "Anthropic's client, OpenAI's upstream",
          "CPU for a translated chunk, us",
          "x bare pipe",
          "CPU for a chat of 16 KB, same dialect, us",
          "translated, us",
          "ratio",
        ],
        translating.map((name) => {
          const chunks = { scenario: "streams, translated", candidate: name };
          const same = { scenario: "large", candidate: name };
          const other = { scenario: "large, translated", candidate: name };
          const us = ({ scenario }: Rounds) => number(median(of(report, scenario, name).map(cpu)), 1);
          return [
            name,
            us(chunks),
            ratioText(pairs(report, chunks, bare)),
            us(same),
            us(other),
            ratioText(pairs(report, other, same)),
          ];
        }),
      ),
    );
  }
  if (of(report, "latency", yardstick).length > 0) {
    sections.push(
      table(
        [
          "added to the upstream's own, ms",
          "whole chat p50",
          "p99",
          "first content of a stream p50",
          "a chunk p50",
          "p99",
        ],
        names.map((name) => [
          name,
          number(
            pairedDifference(report, "latency", name, "direct", (sample) => sample.result.latencyMs.p50),
            2,
          ),
          number(
            pairedDifference(report, "latency", name, "direct", (sample) => sample.result.latencyMs.p99),
            2,
          ),
          number(
            pairedDifference(report, "pacing", name, "direct", (sample) => sample.result.firstByteMs.p50),
            2,
          ),
          number(
            pairedDifference(report, "pacing", name, "direct", (sample) => sample.result.chunkDelayMs.p50),
            2,
          ),
          number(
            pairedDifference(report, "pacing", name, "direct", (sample) => sample.result.chunkDelayMs.p99),
            2,
          ),
        ]),
      ),
    );
  }
  const memory = names.filter((name) => of(report, "memory", name).length > 0);
  if (memory.length > 0) {
    sections.push(
      table(
        ["", "memory over idle for 1,000 open streams, MB"],
        memory.map((name) => [name, number((of(report, "memory", name)[0]?.memoryBytes ?? Number.NaN) / 1e6, 1)]),
      ),
    );
  }
  if (of(report, "big", yardstick).length > 0) {
    sections.push(
      table(
        ["short chats beside 100,000-token prompts", "p99 alone, ms", "p99 beside, ms", "ratio"],
        names.map((name) => {
          const alone = median(of(report, "alone", name).map((sample) => sample.result.latencyMs.p99));
          const beside = median(of(report, "big", name).map((sample) => sample.result.latencyMs.p99));
          return [name, number(alone, 2), number(beside, 2), number(beside / alone, 2)];
        }),
      ),
    );
  }
  if (report.hops.length > 0) {
    sections.push(
      table(
        ["hop between two services", "CPU for a call, us", "CPU for a streamed message, us"],
        report.hops.map((hop) => [hop.hop, number(hop.cpuUsPerCall, 1), number(hop.cpuUsPerMessage, 1)]),
      ),
    );
  }
  if (report.grpc !== undefined) {
    const { bareUs, edgeUs, ratio } = report.grpc;
    sections.push(
      table(
        ["unary gRPC call", "CPU of the server, us", "x bare"],
        [
          ["bare grpc-js server", number(bareUs, 1), "1.00"],
          ["Weir's gRPC port", number(edgeUs, 1), number(ratio, 2)],
        ],
      ),
    );
  }
  if (report.metering !== undefined) {
    const { bareUs, meteredUs, budgetedUs, meteredRatio, budgetedRatio } = report.metering;
    sections.push(
      table(
        ["metering of a request", "CPU on the data plane, us", "x a bare chat"],
        [
          ["a short chat through the bare Node proxy, at 2,000/s", number(bareUs, 1), "1.00"],
          ["metering, no budget is about the call", number(meteredUs, 1), number(meteredRatio, 2)],
          ["metering, two budgets are", number(budgetedUs, 1), number(budgetedRatio, 2)],
        ],
      ),
    );
  }
  const failures = report.samples.filter((sample) => sample.result.failures > 0);
  if (failures.length > 0) sections.push(`${failures.length} measurements had failed requests; they are in the JSON.`);
  return sections.join("\n\n");
}
