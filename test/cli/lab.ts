import { mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, onTestFinished } from "vitest";
import type { Operation, Step } from "../../src/index.ts";
import { bundled } from "../../tools/crash/bundled.ts";
import { type ImageSpec, writeImage } from "../../tools/image-maker/index.ts";
import { cli } from "../support/command.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { type Ended, run } from "../support/programs.ts";

const root = resolve(import.meta.dirname, "../..");

/** A program that dies by SIGKILL at a step of its operation. */
export const victim = (): Promise<string> => bundled(join(root, "tools/demo/victim.ts"));

export const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 1024 * 1024,
  snapshots: [
    { name: "one", changes: [{ at: 0, count: 9, kind: "data", seed: 1 }] },
    { name: "two", changes: [{ at: 4, count: 30, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 7, count: 50, kind: "data", seed: 3 }] },
};

/** A directory with images, and the command in it. */
export class Lab {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  static readonly EMPTY: ImageSpec = { ...SPEC, snapshots: [] };

  static async open(images: Readonly<Record<string, ImageSpec>> = { "a.qcow2": SPEC }): Promise<Lab> {
    return Lab.#make(images, onTestFinished);
  }

  /** One for all tests of a file. */
  static async forFile(images: Readonly<Record<string, ImageSpec>>): Promise<Lab> {
    return Lab.#make(images, afterAll);
  }

  static async #make(
    images: Readonly<Record<string, ImageSpec>>,
    atEnd: (remove: () => Promise<void>) => void,
  ): Promise<Lab> {
    const dir = await realpath(await mkdtemp(join(tmpdir(), "qcowal-cli-")));
    atEnd(() => rm(dir, { recursive: true, force: true }));
    for (const [name, spec] of Object.entries(images)) await writeImage(join(dir, name), spec);
    return new Lab(dir);
  }

  /** A process that dies by SIGKILL when its operation comes to `step`. */
  async dieAt(operation: Operation, step: Step): Promise<void> {
    const args = [await victim(), this.path(".qcowal"), JSON.stringify(operation), step];
    const { signal, stderr } = await run(process.execPath, args, { cwd: root });
    expect(signal, stderr).toBe("SIGKILL");
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  bytes(name = "a.qcow2"): Promise<Buffer> {
    return readFile(this.path(name));
  }

  qcowal(...args: readonly string[]): Promise<Ended> {
    return this.with({}, ...args);
  }

  /** The same with these variables in its environment. */
  with(env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<Ended> {
    const [program = "", ...rest] = cli(...args);
    return run(program, rest, { cwd: this.dir, env });
  }

  /** What a command that has to succeed prints as JSON. */
  async json<T>(...args: readonly string[]): Promise<T> {
    const { code, stdout, stderr } = await this.qcowal(...args, "--json");
    if (code !== 0) throw new Error(`qcowal ${args.join(" ")} ended with ${code}:\n${stderr}`);
    return JSON.parse(stdout) as T;
  }

  async names(image = "a.qcow2"): Promise<string[]> {
    const snapshots = await this.json<{ name: string }[]>("list", image);
    return snapshots.map(({ name }) => name);
  }

  async verdict(image = "a.qcow2"): Promise<string> {
    return describeCheck(checkImage(await this.bytes(image)));
  }
}
