export interface Used {
  readonly cpuMs: number;
  readonly rssMiB: number;
}

/**
 * For `node --import`: has a process say at its end what it took. The peak in its
 * resource usage is that of the process that started it, where that had more.
 */
export const METER = `data:text/javascript,${encodeURIComponent(`
  import { readFileSync } from "node:fs";
  process.on("exit", () => {
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    const [, peakKib] = readFileSync("/proc/self/status", "utf8").match(/^VmHWM:\\s+(\\d+) kB$/m);
    const used = { cpuMs: (userCPUTime + systemCPUTime) / 1000, rssMiB: Number(peakKib) / 1024 };
    process.stderr.write("\\n" + JSON.stringify(used));
  });
`)}`;

/** What a metered process said. */
export const usedOf = (stderr: string): Used => JSON.parse(stderr.split("\n").at(-1) ?? "") as Used;
