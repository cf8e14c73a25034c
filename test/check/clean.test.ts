/**
 * A check that finds something in a clean image is worth as little as one that
 * finds nothing in a damaged one. The shapes that qemu makes are checked where they are made.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkImage } from "../../src/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";

test("a check finds nothing in clean images of random shapes", async () => {
  const path = join(await tempDir(), "a.qcow2");
  for (let seed = 0; seed < 400; seed += 1) {
    await writeFile(path, makeImage(randomSpec(seededRandom(seed), { maxClusterBits: 14 })));
    const report = await checkImage(path, { usage: true });
    expect(report, `seed ${seed}`).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0, findings: [] });
  }
});
