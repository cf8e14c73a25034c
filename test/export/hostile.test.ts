import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isQcowalError, openView } from "../../src/index.ts";
import { type ImageSpec, writeImage } from "../../tools/image-maker/index.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 1024 * 1024,
  snapshots: [{ name: "one", changes: [{ at: 0, count: 90, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 7, count: 50, kind: "compressed", seed: 3 }] },
};

const CASES = 300;

test("a damaged image is read or refused, never anything else", async () => {
  const dir = await tempDir();
  const path = join(dir, "a.qcow2");
  await writeImage(path, SPEC);
  const sound = await readFile(path);
  const { active } = inspectImage(new Uint8Array(sound));
  const random = seededRandom(7);
  const l2Offset = Number(sound.readBigUInt64BE(active.l1Offset) & 0x00ff_ffff_ffff_fe00n);
  const places = [
    { from: 0, length: 112 },
    { from: active.l1Offset, length: 8 },
    { from: l2Offset, length: 512 },
    { from: 0, length: sound.length },
  ];
  const ends = { read: 0, refused: 0 };
  for (let index = 0; index < CASES; index += 1) {
    const bytes = Buffer.from(sound);
    const place = places[index % places.length] ?? { from: 0, length: 1 };
    for (let flips = 0; flips < 2; flips += 1) {
      const at = place.from + random.int(place.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
    }
    await writeFile(path, bytes);
    for (const snapshot of [undefined, "one"]) {
      try {
        await using view = await openView(path, snapshot === undefined ? {} : { snapshot });
        const target = Buffer.alloc(Math.min(view.size, 2 * 1024 * 1024));
        await view.read(0, target);
        ends.read += 1;
      } catch (error) {
        if (!isQcowalError(error)) throw new Error(`case ${index}`, { cause: error });
        ends.refused += 1;
      }
    }
  }
  expect(ends.read).toBeGreaterThan(20);
  expect(ends.refused).toBeGreaterThan(20);
});
