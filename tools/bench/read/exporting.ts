import { rm } from "node:fs/promises";
import { join } from "node:path";
import { must } from "../../../test/support/programs.ts";
import { OURS } from "../measure/measure.ts";
import { median } from "../measure/result.ts";
import { type TimedProcess, timedProcess } from "../measure/timed-process.ts";
import { type ReadImage, SNAPSHOT, type Stored } from "./read-images.ts";

export interface Exported {
  /** Size of the disk. */
  readonly gibibytes: number;
  readonly stored: Stored;
  readonly to: "raw" | "qcow2, zlib";
  readonly runs: number;
  readonly ours: TimedProcess;
  readonly peer: TimedProcess;
}

/** A snapshot becomes a file, by qcowal and by qemu-img in turn. What they write has to be the same disk. */
export async function measureExport(
  folder: string,
  { stored, path, gibibytes }: ReadImage,
  to: Exported["to"],
  runs: number,
  onStep: (what: string) => void,
): Promise<Exported> {
  const [ourFile, peerFile] = [join(folder, "ours.out"), join(folder, "peer.out")];
  const [ourFormat, peerFormat] = to === "raw" ? [["raw"], ["raw"]] : [["qcow2"], ["qcow2", "-c"]];
  const ours = [...OURS, "export", "-q", "--format", ...ourFormat, `${path}@${SNAPSHOT}`, ourFile];
  const peer = ["qemu-img", "convert", "-O", ...peerFormat, "-l", SNAPSHOT, path, peerFile];
  const [ourRuns, peerRuns]: [TimedProcess[], TimedProcess[]] = [[], []];
  for (let run = 1; run <= runs; run += 1) {
    onStep(`exporting, ${stored} to ${to}, run ${run} of ${runs}`);
    ourRuns.push(await once(ours, ourFile));
    peerRuns.push(await once(peer, peerFile));
    if (run === 1) await must("qemu-img", ["compare", ourFile, peerFile]);
  }
  await rm(ourFile);
  await rm(peerFile);
  return { gibibytes, stored, to, runs, ours: middle(ourRuns), peer: middle(peerRuns) };
}

async function once(command: readonly string[], file: string): Promise<TimedProcess> {
  await rm(file, { force: true });
  await must("sync", []);
  return timedProcess(command);
}

const middle = (runs: readonly TimedProcess[]): TimedProcess => ({
  isCutShort: false,
  seconds: median(runs.map(({ seconds }) => seconds)),
  peakMemory: Math.max(...runs.map(({ peakMemory }) => peakMemory)),
});
