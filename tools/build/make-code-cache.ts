import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { writeImage } from "../image-maker/index.ts";

/** Makes the code cache of `dist/command.cjs`, with what the common commands compile while they run. */
export async function makeCodeCache(dist: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "qcowal-build-"));
  try {
    const image = join(folder, "image.qcow2");
    const data = { kind: "data", seed: 1 } as const;
    await writeImage(image, {
      version: 3,
      clusterBits: 16,
      virtualSize: 2 ** 26,
      active: { changes: [{ at: 0, count: 8, ...data }] },
    });
    // A process of its own, started as the command is: other flags would make a cache for other flags.
    const program = join(import.meta.dirname, "code-cache-process.mjs");
    await promisify(execFile)(process.execPath, [program, dist, image], {
      env: { ...process.env, NODE_OPTIONS: "" },
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
