/**
 * A restic repository with as many snapshots as one likes at any time: `restic
 * backup` takes half a second for each, so the files of the snapshots are written
 * here, encrypted as restic's design document describes it.
 */
import { createCipheriv, createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { must } from "../support/programs.ts";

interface MasterKey {
  readonly mac: { readonly k: string; readonly r: string };
  readonly encrypt: string;
}

export interface ResticSnapshot {
  /** One history each. */
  readonly host: string;
  /** RFC 3339, with the offset of the zone in which restic is to run. */
  readonly time: string;
}

interface Forgotten {
  readonly host: string;
  readonly keep: readonly { readonly time: string }[] | null;
  /** In the order of `keep`. */
  readonly reasons: readonly { readonly matches: readonly string[] }[] | null;
}

export class ResticRepository implements AsyncDisposable {
  readonly #dir: string;
  readonly #key: MasterKey;

  private constructor(dir: string, key: MasterKey) {
    this.#dir = dir;
    this.#key = key;
  }

  static async make(snapshots: readonly ResticSnapshot[]): Promise<ResticRepository> {
    const dir = await mkdtemp(join(tmpdir(), "qcowal-restic-"));
    await restic(dir, "UTC", "init", "-q");
    const key = JSON.parse(await restic(dir, "UTC", "cat", "masterkey")) as MasterKey;
    const repository = new ResticRepository(dir, key);
    await mkdir(join(dir, "snapshots"), { recursive: true });
    await Promise.all(snapshots.map((snapshot) => repository.#write(snapshot)));
    return repository;
  }

  async #write({ host, time }: ResticSnapshot): Promise<void> {
    const tree = createHash("sha256").update(time).digest("hex");
    const bytes = this.#seal(Buffer.from(JSON.stringify({ time, tree, paths: ["/disk"], hostname: host })));
    await writeFile(join(this.#dir, "snapshots", createHash("sha256").update(bytes).digest("hex")), bytes);
  }

  /** AES-256 in counter mode, and Poly1305-AES over the ciphertext. */
  #seal(plain: Buffer): Buffer {
    const iv = randomBytes(16);
    const cipher = createCipheriv("aes-256-ctr", Buffer.from(this.#key.encrypt, "base64"), iv);
    const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
    const mask = createCipheriv("aes-128-ecb", Buffer.from(this.#key.mac.k, "base64"), null).setAutoPadding(
      false,
    );
    const tag = poly1305(sealed, Buffer.from(this.#key.mac.r, "base64"), mask.update(iv));
    return Buffer.concat([iv, sealed, tag]);
  }

  /** What `forget` keeps of each host: times in milliseconds, but for what it keeps as the oldest of all. */
  async kept(zone: string, flags: readonly string[]): Promise<ReadonlyMap<string, readonly number[]>> {
    const args = ["forget", "--dry-run", "--json", "--no-lock", "--group-by", "host", ...flags];
    const groups = JSON.parse(await restic(this.#dir, zone, ...args)) as Forgotten[];
    return new Map(
      groups.map(({ host, keep, reasons }) => [
        host,
        // Versions from 0.16 on keep the oldest where there are buckets to spare, and say so.
        (keep ?? [])
          .filter(
            (_, index) => reasons?.[index]?.matches.some((match) => !match.startsWith("oldest")) !== false,
          )
          .map(({ time }) => Date.parse(time)),
      ]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }
}

const restic = (dir: string, zone: string, ...args: readonly string[]): Promise<string> =>
  must("restic", ["--no-cache", ...args], {
    env: { RESTIC_PASSWORD: "x", RESTIC_REPOSITORY: dir, TZ: zone },
  });

const little = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes.toReversed()).toString("hex")}`);

function poly1305(message: Buffer, r: Buffer, mask: Buffer): Buffer {
  const clamped = little(r) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) {
    const block = little(Buffer.concat([message.subarray(at, at + 16), Buffer.from([1])]));
    sum = ((sum + block) * clamped) % (2n ** 130n - 5n);
  }
  const tag = (sum + little(mask)) % 2n ** 128n;
  return Buffer.from(Buffer.from(tag.toString(16).padStart(32, "0"), "hex").toReversed());
}
