import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { BUNDLE_OF_ALL, type Group, bundleOf } from "../../src/cli/groups/groups.ts";
import { writeImage } from "../image-maker/index.ts";

/** Of each group the common commands, for an image; in this order, because there is nothing to list before. */
const COMMON: readonly (readonly [group: Group, lines: (image: string) => readonly string[][]])[] = [
  [
    "write",
    (image) => [
      ["create", "one", image],
      ["create", "two", image],
      ["revert", "one", image],
      ["delete", "two", image],
      ["recover", image],
    ],
  ],
  ["check", (image) => [["check", image], ["--version"]]],
  [
    "record",
    (image) => [
      ["list", image],
      ["history", image],
    ],
  ],
  [
    "guest",
    (image) => [
      ["map", image],
      ["diff", image, "one"],
    ],
  ],
];

/** Makes the code caches of the bundles in `dist`, with what the common commands compile while they run. */
export async function makeCodeCaches(dist: string): Promise<void> {
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
    for (const [group, lines] of COMMON) await makeCodeCache(dist, bundleOf(group), lines(image));
    await makeCodeCache(dist, BUNDLE_OF_ALL, [["--help"]]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeCodeCache(dist: string, name: string, lines: readonly string[][]): Promise<void> {
  // A process of its own, started as the command is: other flags would make a cache for other flags.
  const program = join(import.meta.dirname, "code-cache-process.mjs");
  await promisify(execFile)(process.execPath, [program, dist, name, JSON.stringify(lines)], {
    env: { ...process.env, NODE_OPTIONS: "" },
  });
}
