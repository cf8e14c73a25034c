import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Operation } from "../../src/index.ts";
import { checkImage, describeCheck, readRoot } from "../../test/support/naive-qcow2.ts";
import { guestWrite } from "../image-maker/guest-write.ts";
import { writeImage } from "../image-maker/index.ts";
import { command, explain, output, verdict } from "./narrator.ts";

const root = resolve(import.meta.dirname, "../..");
const MAIN = join(root, "dist/qcowal.cjs");
const VICTIM = join(import.meta.dirname, "victim.ts");

const CLUSTER_BITS = 16;
const CLUSTER = 2 ** CLUSTER_BITS;
/** Guest clusters that every release rewrites: 16 MiB. */
const RELEASE_CLUSTERS = 256;

export interface Stage {
  readonly dir: string;
  readonly hasQemu: boolean;
}

export const IMAGE = "disk.qcow2";

export const hasQemu = (): boolean => spawnSync("qemu-img", ["--version"]).status === 0;

export async function makeDisk({ dir }: Stage): Promise<void> {
  await writeImage(join(dir, IMAGE), {
    version: 3,
    clusterBits: CLUSTER_BITS,
    virtualSize: 64 * 1024 * 1024,
    active: { changes: [{ at: 0, kind: "data", count: 16 }] },
  });
}

/** The guest installs a release: text over many clusters. */
export async function install({ dir }: Stage, release: string): Promise<void> {
  const page = Buffer.alloc(CLUSTER, `${release}\n`);
  await guestWrite(
    join(dir, IMAGE),
    16,
    Array.from({ length: RELEASE_CLUSTERS }, () => page),
  );
  explain(`The guest writes ${release} over ${(RELEASE_CLUSTERS * CLUSTER) / 2 ** 20} MiB of its disk.`);
}

/** The command as a user runs it; returns the exit code. */
export function qcowal({ dir }: Stage, ...args: readonly string[]): number | null {
  command(`npx qcowal ${args.map((arg) => (/^[\w.:/-]+$/.test(arg) ? arg : `'${arg}'`)).join(" ")}`);
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    cwd: dir,
    encoding: "utf8",
  });
  output((stdout + stderr).replaceAll(`${dir}/`, ""));
  return status;
}

/** Runs an operation in a process that dies by SIGKILL when it comes to `step`. */
export function killDuring({ dir }: Stage, operation: Operation, step: string): void {
  const { signal, stderr } = spawnSync(
    process.execPath,
    [
      "--import",
      "tsx",
      VICTIM,
      join(dir, ".qcowal"),
      JSON.stringify({ ...operation, image: join(dir, IMAGE) }),
      step,
    ],
    { cwd: root, encoding: "utf8" },
  );
  verdict(
    signal === "SIGKILL",
    `a service was killed with SIGKILL while it ran ${operation.type} (step ${step}) ${stderr}`.trim(),
  );
}

export function showFenced(stage: Stage): void {
  const code = qcowal(stage, "list", IMAGE);
  verdict(code === 6, "the image is fenced: nobody can use it in this half state (exit code 6)");
  if (!stage.hasQemu) return;
  command(`qemu-img info ${IMAGE}`);
  const { status, stderr } = spawnSync("qemu-img", ["info", IMAGE], { cwd: stage.dir, encoding: "utf8" });
  output(stderr);
  verdict(status !== 0, "no qemu can use it either, and it says why");
}

export async function check({ dir, hasQemu }: Stage, expectedContent: string): Promise<void> {
  const bytes = await readFile(join(dir, IMAGE));
  const found = describeCheck(checkImage(bytes));
  verdict(found === "clean", `an independent checker recounted every cluster: ${found}`);
  if (hasQemu) {
    const { status, stdout } = spawnSync("qemu-img", ["check", IMAGE], { cwd: dir, encoding: "utf8" });
    verdict(status === 0, `qemu-img check: ${stdout.split("\n")[0]}`);
  }
  const guest = Buffer.from(readRoot(bytes, "active"));
  const content = Buffer.alloc(RELEASE_CLUSTERS * CLUSTER, Buffer.alloc(CLUSTER, `${expectedContent}\n`));
  const isWhole = guest.subarray(16 * CLUSTER, 16 * CLUSTER + content.length).equals(content);
  verdict(isWhole, `the guest reads ${expectedContent}, in every byte`);
}
