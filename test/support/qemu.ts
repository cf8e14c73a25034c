import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { checkImage, describeCheck } from "./naive-qcow2.ts";
import { must, run } from "./programs.ts";

/** A machine without the tools must not report success. */
export async function requireQemu(): Promise<void> {
  for (const program of ["qemu-img", "qemu-io"]) {
    try {
      await must(program, ["--version"]);
    } catch (cause) {
      throw new Error(`${program} is needed: sudo apt-get install qemu-utils`, { cause });
    }
  }
}

/** An image by its path, or one that needs a passphrase. */
export type Image = string | { readonly path: string; readonly secret: string };

/** How the qemu tools are told which image: always as qcow2, never by probing. */
function imageArgs(image: Image): string[] {
  const path = typeof image === "string" ? image : image.path;
  const file = `driver=qcow2,file.driver=file,file.filename=${path.replaceAll(",", ",,")}`;
  return typeof image === "string"
    ? ["--image-opts", file]
    : ["--object", `secret,id=key,data=${image.secret}`, "--image-opts", `${file},encrypt.key-secret=key`];
}

export interface CreateOptions {
  readonly size?: number | string;
  /** As after `-o`, for example `{ cluster_size: 512, compat: "1.1" }`. */
  readonly options?: Readonly<Record<string, string | number>>;
  readonly backing?: { readonly file: string; readonly format: string };
  /** Further arguments, for example `--object`. */
  readonly args?: readonly string[];
}

export async function createImage(path: string, create: CreateOptions = {}): Promise<void> {
  const options = Object.entries(create.options ?? {}).map(([key, value]) => `${key}=${value}`);
  await must("qemu-img", [
    "create",
    "-q",
    ...(create.args ?? []),
    "-f",
    "qcow2",
    ...(options.length === 0 ? [] : ["-o", options.join(",")]),
    ...(create.backing === undefined ? [] : ["-b", create.backing.file, "-F", create.backing.format]),
    path,
    ...(create.size === undefined ? [] : [String(create.size)]),
  ]);
}

/**
 * Makes a LUKS image. QEMU measures CPU time to choose the iterations of the
 * key, and gives up now and then on a coarse clock.
 */
export async function createEncrypted(
  path: string,
  size: number,
  secret: string,
  attempts = 10,
): Promise<void> {
  try {
    await createImage(path, {
      size,
      args: ["--object", `secret,id=key,data=${secret}`],
      options: { "encrypt.format": "luks", "encrypt.key-secret": "key", "encrypt.iter-time": 10 },
    });
  } catch (error) {
    if (attempts === 1 || !String(error).includes("accurate CPU usage")) throw error;
    await createEncrypted(path, size, secret, attempts - 1);
  }
}

/** qemu-io commands, as in `write -P 0x11 0 4k`. They run in one process, one after the other. */
export async function io(image: Image, ...commands: readonly string[]): Promise<string> {
  const output = await must("qemu-io", [
    ...commands.flatMap((command) => ["-c", command]),
    ...imageArgs(image),
  ]);
  // Some failed commands are reported in words only.
  if (/failed|error|invalid/i.test(output)) throw new Error(`qemu-io ${commands.join("; ")}:\n${output}`);
  return output;
}

export const snapshotCreate = (image: Image, name: string): Promise<string> =>
  must("qemu-img", ["snapshot", "-q", "-c", name, ...imageArgs(image)]);

export const snapshotApply = (image: Image, nameOrId: string): Promise<string> =>
  must("qemu-img", ["snapshot", "-q", "-a", nameOrId, ...imageArgs(image)]);

export const snapshotDelete = (image: Image, name: string): Promise<string> =>
  must("qemu-img", ["snapshot", "-q", "-d", name, ...imageArgs(image)]);

export interface QemuSnapshot {
  readonly id: string;
  readonly name: string;
  readonly "vm-state-size": number;
  readonly "date-sec": number;
  readonly "date-nsec": number;
  readonly "vm-clock-sec": number;
  readonly "vm-clock-nsec": number;
  readonly icount?: number;
}

export interface QemuInfo {
  readonly format: string;
  readonly "virtual-size": number;
  readonly "cluster-size"?: number;
  readonly snapshots?: readonly QemuSnapshot[];
  readonly "backing-filename"?: string;
  readonly "format-specific"?: { readonly data: Readonly<Record<string, unknown>> };
}

export async function info(image: Image): Promise<QemuInfo> {
  return JSON.parse(await must("qemu-img", ["info", "--output=json", ...imageArgs(image)])) as QemuInfo;
}

/** The snapshots as `info` lists them, in table order. */
export async function snapshotList(image: Image): Promise<readonly QemuSnapshot[]> {
  return (await info(image)).snapshots ?? [];
}

export interface QemuCheck {
  readonly code: number | null;
  readonly errors: number;
  readonly corruptions: number;
  readonly leaks: number;
  /** Everything it printed. */
  readonly text: string;
}

export async function qemuCheck(image: Image): Promise<QemuCheck> {
  const { code, stdout, stderr } = await run("qemu-img", ["check", "--output=json", ...imageArgs(image)]);
  const json = stdout.trim().startsWith("{") ? (JSON.parse(stdout) as Readonly<Record<string, number>>) : {};
  return {
    code,
    errors: json["check-errors"] ?? (stdout === "" ? 1 : 0),
    corruptions: json["corruptions"] ?? 0,
    leaks: json["leaks"] ?? 0,
    text: stderr + stdout,
  };
}

export interface ConvertOptions {
  readonly snapshotId?: string;
}

async function convert<T>(
  image: Image,
  options: ConvertOptions,
  use: (raw: string) => Promise<T>,
): Promise<T> {
  return withTempDir(async (dir) => {
    const raw = join(dir, "raw");
    const snapshot = options.snapshotId === undefined ? [] : ["-l", `snapshot.id=${options.snapshotId}`];
    await must("qemu-img", ["convert", "-O", "raw", ...snapshot, ...imageArgs(image), raw]);
    return use(raw);
  });
}

/** SHA-256 of the guest bytes. For a snapshot QEMU takes the image's present virtual size, not the snapshot's. */
export function rawDigest(image: Image, options: ConvertOptions = {}): Promise<string> {
  return convert(image, options, async (raw) => {
    const hash = createHash("sha256");
    // One buffer for all of it: a stream leaves thousands to the collector.
    const buffer = Buffer.allocUnsafe(2 ** 20);
    const file = await open(raw);
    try {
      for (let length = 1; length > 0;) {
        ({ bytesRead: length } = await file.read(buffer));
        hash.update(buffer.subarray(0, length));
      }
    } finally {
      await file.close();
    }
    return hash.digest("hex");
  });
}

/** The guest bytes themselves, for small disks. */
export function rawBytes(image: Image, options: ConvertOptions = {}): Promise<Uint8Array> {
  return convert(image, options, async (raw) => new Uint8Array(await readFile(raw)));
}

/** True when the guest sees the same in both; throws when they cannot be compared. */
export async function sameContent(a: string, b: string): Promise<boolean> {
  const { code, stderr } = await run("qemu-img", ["compare", "-q", a, b]);
  if (code === null || code > 1) throw new Error(`qemu-img compare ended with ${code}:\n${stderr}`);
  return code === 0;
}

/** Not by promises: to wake a thread for it takes longer than it does. */
const newDir = (): string => mkdtempSync(join(tmpdir(), "qcowal-test-"));
const remove = (dir: string): void => rmSync(dir, { recursive: true, force: true });

export async function withTempDir<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = newDir();
  try {
    return await use(dir);
  } finally {
    remove(dir);
  }
}

/** A directory that goes away when the running test ends. */
export async function tempDir(): Promise<string> {
  const dir = newDir();
  onTestFinished(() => remove(dir));
  return dir;
}

/** Both judges have to find the image clean. */
export async function judge(image: Image): Promise<void> {
  const path = typeof image === "string" ? image : image.path;
  const naive = checkImage(await readFile(path));
  expect(describeCheck(naive), `naive check of ${path}`).toBe("clean");
  const { code, text } = await qemuCheck(image);
  expect(code, `qemu-img check of ${path}:\n${text}`).toBe(0);
}
