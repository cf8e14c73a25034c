import { existsSync } from "node:fs";
import { readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { createImage, io, snapshotApply, snapshotCreate, snapshotDelete } from "../../test/support/qemu.ts";
import { must } from "../../test/support/programs.ts";
import { Target } from "./target.ts";

/** Small images that qemu-img and qemu-io made. */
export interface RealImages {
  readonly all: readonly (readonly [name: string, bytes: Uint8Array])[];
}

interface Shape {
  readonly name: string;
  readonly size: string;
  readonly options: Readonly<Record<string, string | number>>;
  readonly afterwards?: (path: string) => Promise<unknown>;
}

const bitmapOf = (path: string): Promise<string> => must("qemu-img", ["bitmap", "--add", path, "b0"]);

const SHAPES: readonly Shape[] = [
  { name: "v2", size: "1M", options: { compat: "0.10", cluster_size: 1024 } },
  { name: "v3", size: "1M", options: { cluster_size: 1024 } },
  { name: "v3 bitmap", size: "1M", options: { cluster_size: 4096 }, afterwards: bitmapOf },
  { name: "v3 refcounts of 1 byte", size: "512k", options: { cluster_size: 512, refcount_bits: 8 } },
  { name: "v3 refcounts of 8 bytes", size: "512k", options: { cluster_size: 512, refcount_bits: 64 } },
  { name: "v3 lazy refcounts", size: "1M", options: { cluster_size: 2048, lazy_refcounts: "on" } },
  { name: "v3 extended L2", size: "2M", options: { cluster_size: "16k", extended_l2: "on" } },
  { name: "v3 zstd", size: "1M", options: { cluster_size: 1024, compression_type: "zstd" } },
];

async function make({ size, options, afterwards }: Shape, path: string): Promise<void> {
  await createImage(path, { size, options });
  await io(path, "write -P 1 0 20k", "write -P 2 100k 9k");
  await snapshotCreate(path, "one");
  await io(path, "write -P 3 4k 12k", "write -z 30k 4k", "write -c -P 4 64k 16k");
  await snapshotCreate(path, "two");
  await io(path, "write -P 5 200k 8k");
  await snapshotCreate(path, "three");
  await snapshotApply(path, "one");
  await snapshotDelete(path, "three");
  await io(path, "write -P 6 8k 2k");
  await afterwards?.(path);
}

/** The clock is in them, and a case has to be the same another day. */
function withoutDates(bytes: Buffer): Buffer {
  for (const entry of new Target(bytes).snapshots) bytes.fill(1, entry + 16, entry + 24);
  return bytes;
}

/** Makes them in `dir`, where they are not there yet. */
export async function realImages(dir: string): Promise<RealImages> {
  const all: [string, Uint8Array][] = [];
  for (const shape of SHAPES) {
    const path = join(dir, `${shape.name.replaceAll(" ", "-")}.qcow2`);
    if (!existsSync(path)) {
      await make(shape, `${path}.new`);
      await rename(`${path}.new`, path);
    }
    all.push([shape.name, withoutDates(await readFile(path))]);
  }
  return { all };
}
