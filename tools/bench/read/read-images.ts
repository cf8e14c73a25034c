import { randomFillSync } from "node:crypto";
import { type FileHandle, open, readFile, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { must } from "../../../test/support/programs.ts";

const MIB = 2 ** 20;
const REGION_MIB = 16;

/** The same data, stored in each way that an image knows. */
export const STORED = ["uncompressed", "zlib", "zstd"] as const;
export type Stored = (typeof STORED)[number];

export const SNAPSHOT = "s1";

/** What regions of 16 MiB hold, again and again: half of what is not empty does not compress. */
const REGIONS = [
  "noise",
  "program",
  "text",
  "hole",
  "noise",
  "program",
  "text",
  "zeros",
  "noise",
  "program",
  "hole",
  "text",
  "noise",
  "hole",
  "zeros",
  "hole",
] as const;

export interface ReadImage {
  readonly gibibytes: number;
  readonly stored: Stored;
  readonly path: string;
}

/** Images of `gibibytes`, each with a snapshot, behind which the disk was changed. */
export async function makeReadImages(
  folder: string,
  gibibytes: number,
  kinds: readonly Stored[],
  onStep: (what: string) => void,
): Promise<ReadImage[]> {
  const raw = join(folder, "content.raw");
  const regions = (gibibytes * 1024) / REGION_MIB;
  onStep("making the content");
  await writeContent(raw, regions);
  const images: ReadImage[] = [];
  for (const stored of kinds) {
    onStep(`making the image, ${stored}`);
    const path = join(folder, `${stored}.qcow2`);
    const how = stored === "uncompressed" ? [] : ["-c", "-o", `compression_type=${stored}`];
    await must("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", ...how, raw, path]);
    const zeros = Array.from({ length: regions }, (_, region) => region).filter(
      (region) => REGIONS[region % REGIONS.length] === "zeros",
    );
    // A guest that wrote zeros: qemu-img itself makes holes of them.
    if (stored === "uncompressed") {
      await guestWrites(
        path,
        zeros.map((region) => `write -q -P 0 ${region * REGION_MIB}M ${REGION_MIB}M`),
      );
    }
    await must("qemu-img", ["snapshot", "-c", SNAPSHOT, path]);
    await guestWrites(path, ["write -q -P 7 0 16M"]);
    images.push({ gibibytes, stored, path });
  }
  await rm(raw);
  return images;
}

const guestWrites = (path: string, commands: readonly string[]): Promise<string> =>
  must("qemu-io", ["-f", "qcow2", ...commands.flatMap((command) => ["-c", command]), path]);

async function writeContent(path: string, regions: number): Promise<void> {
  const sources = { program: await readFile(process.execPath), text: await readText() };
  const places = { program: 0, text: 0 };
  const noise = Buffer.alloc(REGION_MIB * MIB);
  const file: FileHandle = await open(path, "w");
  await file.truncate(regions * REGION_MIB * MIB);
  for (let region = 0; region < regions; region += 1) {
    const kind = REGIONS[region % REGIONS.length];
    if (kind === "noise") await file.write(randomFillSync(noise), 0, noise.length, region * noise.length);
    if (kind !== "program" && kind !== "text") continue;
    for (let done = 0; done < REGION_MIB * MIB;) {
      const from = places[kind] % sources[kind].length;
      const part = sources[kind].subarray(from, from + REGION_MIB * MIB - done);
      await file.write(part, 0, part.length, region * REGION_MIB * MIB + done);
      places[kind] += part.length;
      done += part.length;
    }
  }
  await file.close();
}

/** What people and compilers wrote: the sources of the packages that are installed here. */
async function readText(): Promise<Buffer> {
  const folder = resolve(import.meta.dirname, "../../../node_modules");
  const names = await readdir(folder, { recursive: true });
  const parts: Buffer[] = [];
  for (const name of names.filter((name) => /\.(js|ts|md|json)$/.test(name)).toSorted()) {
    parts.push(await readFile(join(folder, name)).catch(() => Buffer.alloc(0)));
  }
  return Buffer.concat(parts);
}
