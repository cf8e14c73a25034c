/**
 * QEMU's own word on a sample of the states, because the in-memory judge could
 * be wrong: a fenced image is refused to a writer and keeps every byte, and a
 * recovered one is clean for `qemu-img check` and holds what it held before the
 * transaction, or what an undisturbed one leaves.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MemoryDisk } from "../../test/support/memory-disk.ts";
import { inspectImage } from "../../test/support/naive-qcow2.ts";
import { run } from "../../test/support/programs.ts";
import type { World } from "../../test/support/world.ts";
import type { ExploreOptions } from "./explore.ts";

/** At least one in so many distinct states is shown to QEMU. */
const ONE_IN = 99;

/** Thousands of small files that need not survive anything. */
export const SCRATCH = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

export class QemuSample {
  readonly #dir: string;
  readonly #references = new WeakMap<MemoryDisk, string>();
  #states = 0;
  #judged = 0;
  #refused = 0;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** Its files lie in a directory of their own below `parent`. */
  static async open(parent = SCRATCH): Promise<QemuSample> {
    return new QemuSample(await mkdtemp(join(parent, "qcowal-crash-")));
  }

  /** States shown to QEMU, and how many of them it refused because they were fenced. */
  get counts(): { readonly judged: number; readonly refused: number } {
    return { judged: this.#judged, refused: this.#refused };
  }

  readonly sample: NonNullable<ExploreOptions["sample"]> = async (crashed, recovered, references) => {
    this.#states += 1;
    if (this.#states % ONE_IN !== 0) return;
    this.#judged += 1;
    for (const path of crashed.images.keys()) {
      await this.#judgeCrashed(crashed, path);
      await this.#judgeRecovered(recovered, references, path);
    }
  };

  async close(): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #judgeCrashed(world: World, path: string): Promise<void> {
    const bytes = at(world, path).bytes();
    if (!inspectImage(bytes, { ignoreFence: true }).header.fenced) return;
    const file = await this.#file("crashed.qcow2", bytes);
    const { code } = await run("qemu-io", ["-f", "qcow2", "-c", "write -P 7 0 512", file]);
    assert.notEqual(code, 0, "qemu-io opened a fenced image");
    assert.ok((await readFile(file)).equals(bytes), "qemu-io wrote to a fenced image");
    this.#refused += 1;
  }

  async #judgeRecovered(world: World, references: readonly World[], path: string): Promise<void> {
    const disk = at(world, path);
    const file = await this.#file("recovered.qcow2", disk.bytes());
    const check = await run("qemu-img", ["check", "-f", "qcow2", file]);
    assert.equal(check.code, 0, `qemu-img check: ${check.stdout}${check.stderr}`);
    // The same bytes hold the same.
    if (references.some((reference) => at(reference, path).digest() === disk.digest())) return;
    const content = await this.#content(file);
    for (const reference of references) {
      if ((await this.#referenceContent(at(reference, path))) === content) return;
    }
    assert.fail("to qemu-img convert the disk is neither as before nor as after");
  }

  async #referenceContent(reference: MemoryDisk): Promise<string> {
    const known = this.#references.get(reference);
    if (known !== undefined) return known;
    const content = await this.#content(await this.#file("reference.qcow2", reference.bytes()));
    this.#references.set(reference, content);
    return content;
  }

  /** A digest of the active layer as QEMU reads it. */
  async #content(image: string): Promise<string> {
    const raw = join(this.#dir, "raw");
    const { code, stderr } = await run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", image, raw]);
    assert.equal(code, 0, `qemu-img convert: ${stderr}`);
    return createHash("sha1")
      .update(await readFile(raw))
      .digest("hex");
  }

  async #file(name: string, bytes: Uint8Array): Promise<string> {
    const file = join(this.#dir, name);
    await writeFile(file, bytes);
    return file;
  }
}

function at(world: World, path: string): MemoryDisk {
  const file = world.images.get(path);
  assert.ok(file);
  return file;
}
