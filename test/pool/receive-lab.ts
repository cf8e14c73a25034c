/** Copies of a disk, the streams between its states, and what a copy refuses. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { Pool } from "../../src/index.ts";
import { States, dribble } from "../export/stream-lab.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { must } from "../support/programs.ts";
import { requireQemu } from "../support/qemu.ts";
import { poolIn, scratch } from "./lab.ts";

export const states = new States();

export async function qemuImg(...args: readonly string[]): Promise<void> {
  await must("qemu-img", args);
}

export const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const active = async (path: string): Promise<Buffer> =>
  Buffer.from(readRoot(await readFile(path), "active"));

export async function lab(): Promise<{ dir: string; pool: Pool; copy: string }> {
  const dir = await scratch();
  return { dir, pool: await poolIn(dir), copy: join(dir, "copy.qcow2") };
}

/** It must be refused with the code, and not a byte of the file may be another one. */
export async function expectRefused(
  pool: Pool,
  copy: string,
  stream: Uint8Array,
  code: string,
  message = /Nothing was changed/,
): Promise<void> {
  const before = digest(await readFile(copy));
  const error = await pool.receive(copy, dribble(stream, 50_000)).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) as unknown });
  expect(digest(await readFile(copy))).toBe(before);
}

/** Two states of an image that `make` made, and the stream between them. */
export async function imageLab(
  make: (dir: string) => Promise<void>,
): Promise<{ pool: Pool; copy: string; dir: string }> {
  await requireQemu();
  const { dir, pool, copy } = await lab();
  await make(dir);
  return { dir, pool, copy };
}

export const create = (dir: string, ...args: readonly string[]): Promise<void> =>
  qemuImg("create", "-q", "-f", "qcow2", ...args, join(dir, "copy.qcow2"), "1M");

export const blank: Buffer = Buffer.alloc(2 ** 20);
export const filled = (from: number, to: number, byte: number, on: Buffer = blank): Buffer =>
  Buffer.from(on).fill(byte, from, to);
