import { bytes, ratio, seconds } from "../report/format.ts";
import { table } from "../report/markdown.ts";
import type { Exported } from "./exporting.ts";
import { STORED } from "./read-images.ts";
import type { Served } from "./serving.ts";

export interface ReadResults {
  readonly date: string;
  /** Cores, qemu-img and Node that it was measured with. */
  readonly machine: string;
  readonly exported: readonly Exported[];
  readonly served: readonly Served[];
}

export function readReport({ date, machine, exported, served }: ReadResults): string {
  const parts = [
    `Measured on ${date} by \`npm run bench:read\` on ${machine}: one snapshot of a disk, three sixteenths of it text, three programs, four noise, two zeros that were written, and four holes. Both in turn, medians; in a ratio more than 1 is faster than qemu's program. The files are in memory as far as they fit.`,
  ];
  if (exported.length > 0) {
    parts.push(
      "`qcowal export` beside `qemu-img convert -l`. Ours is on the disk when it ends; qemu-img does not sync what it writes.",
      exportTable(exported),
    );
  }
  if (served.length > 0) {
    parts.push(
      "`qcowal serve` beside `qemu-nbd`, asked by fio on a Unix socket; ours / qemu-nbd's.",
      serveTable(served),
    );
  }
  return parts.join("\n\n");
}

/** What an earlier run left, with what was measured anew in its place. */
export function withEarlier(earlier: ReadResults | undefined, results: ReadResults): ReadResults {
  if (earlier === undefined) return results;
  const merged = <Row>(old: readonly Row[], made: readonly Row[], key: (row: Row) => string): Row[] => {
    const keys = new Set(made.map(key));
    return [...old.filter((row) => !keys.has(key(row))), ...made].toSorted(
      (a, b) => place(key(a)) - place(key(b)),
    );
  };
  return {
    ...results,
    exported: merged(earlier.exported, results.exported, ({ stored, to }) => `${stored} ${to}`),
    served: merged(earlier.served, results.served, ({ stored, load }) => `${stored} ${load}`),
  };
}

const place = (key: string): number => STORED.findIndex((stored) => key.startsWith(stored));

const exportTable = (results: readonly Exported[]): string =>
  table(
    ["disk", "stored", "written as", "qemu-img", "qcowal", "ratio", "peak memory, ours / qemu-img's"],
    results.map(({ gibibytes, stored, to, ours, peer }) => [
      `${gibibytes} GiB`,
      stored,
      to,
      seconds(peer.seconds),
      seconds(ours.seconds),
      ratio(peer.seconds / ours.seconds),
      `${bytes(ours.peakMemory)} / ${bytes(peer.peakMemory)}`,
    ]),
  );

const micro = (value: number): string => `${(value * 1e6).toFixed(0)} µs`;

const serveTable = (results: readonly Served[]): string =>
  table(
    ["disk", "stored", "reads", "MiB/s", "reads/s", "ratio", "p50", "p95", "p99", "peak memory"],
    results.map(({ gibibytes, stored, load, ours, peer, memory }) => [
      `${gibibytes} GiB`,
      stored,
      load,
      `${mebibytes(ours.bytesPerSecond)} / ${mebibytes(peer.bytesPerSecond)}`,
      `${ours.requestsPerSecond.toFixed(0)} / ${peer.requestsPerSecond.toFixed(0)}`,
      ratio(ours.bytesPerSecond / peer.bytesPerSecond),
      `${micro(ours.p50)} / ${micro(peer.p50)}`,
      `${micro(ours.p95)} / ${micro(peer.p95)}`,
      `${micro(ours.p99)} / ${micro(peer.p99)}`,
      `${bytes(memory.ours)} / ${bytes(memory.peer)}`,
    ]),
  );

const mebibytes = (value: number): string => (value / 2 ** 20).toFixed(0);
