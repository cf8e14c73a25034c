/** What a view holds of memory, in a process of its own: bounded, whatever the disk and however many files are behind it. */
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { makeImage } from "../../tools/image-maker/index.ts";
import { tablesInHole, writeTo } from "../hostile/large-images.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { METER, usedOf } from "../support/meter.ts";
import { run } from "../support/programs.ts";
import { tempDir } from "../support/qemu.ts";

const MAX_RSS_MIB = 256;
/** Of tables and unpacked clusters, with room for the reads that are under way. */
const MAX_HELD_MIB = 16;

beforeAll(requireBuiltCommand);

const API = resolve(import.meta.dirname, "../../dist/src/index.js");

/** Runs `body`, which has `view` and `random(below)`, and says how much was read. */
async function heldAfter(path: string, body: string): Promise<{ heldMiB: number; rssMiB: number }> {
  const script = `
    const [api, path] = process.argv.slice(1);
    const { openView } = await import(api);
    const view = await openView(path);
    let state = 1;
    const random = (below) => (state = (state * 48271) % 2147483647) % below;
    // What is garbage is given back on another thread, in its own time.
    const held = async () => {
      let least = Infinity;
      for (let count = 0; count < 10; count += 1) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 30));
        least = Math.min(least, process.memoryUsage().arrayBuffers);
      }
      return least;
    };
    const before = await held();
    ${body}
    console.log(((await held()) - before) / 2 ** 20);
    await view.close();
  `;
  const args = ["--expose-gc", "--import", METER, "--input-type=module", "-e", script, API, path];
  const { code, stdout, stderr } = await run(process.execPath, args);
  expect(code, stderr).toBe(0);
  return { heldMiB: Number(stdout), rssMiB: usedOf(stderr).rssMiB };
}

function expectBounded({ heldMiB, rssMiB }: { heldMiB: number; rssMiB: number }): void {
  console.log(`${heldMiB.toFixed(1)} MiB held, ${rssMiB.toFixed(0)} MiB at most`);
  // What was read last is held, or nothing was measured.
  expect(heldMiB).toBeGreaterThan(1);
  expect(heldMiB).toBeLessThan(MAX_HELD_MIB);
  expect(rssMiB).toBeLessThan(MAX_RSS_MIB);
}

test("a disk of 2 TiB with 256 MiB of tables, read all over in random order", async () => {
  const path = join(await tempDir(), "large.qcow2");
  await writeTo(path, tablesInHole());
  expectBounded(
    await heldAfter(
      path,
      `for (let count = 0; count < 10000; count += 1) {
        await view.read(random(2 ** 25) * 65536, Buffer.alloc(16));
      }`,
    ),
  );
});

test("a chain of 100 files with compressed clusters in each, which are 100 MiB together", async () => {
  const dir = await tempDir();
  const [files, clusters] = [100, 16];
  for (let index = 0; index < files; index += 1) {
    const image = makeImage({
      version: 3,
      clusterBits: 16,
      virtualSize: files * clusters * 65_536,
      snapshots: [],
      active: { changes: [{ at: index * clusters, count: clusters, kind: "compressed", seed: index }] },
      ...(index === 0 ? {} : { backing: { name: `${index - 1}.qcow2`, format: "qcow2" } }),
    });
    await writeFile(join(dir, `${index}.qcow2`), image);
  }
  expectBounded(
    await heldAfter(
      join(dir, `${files - 1}.qcow2`),
      `const target = Buffer.alloc(512);
      for (let at = 100; at < view.size; at += 65536) await view.read(at, target);`,
    ),
  );
});
