/**
 * Where our verdict differs from that of `qemu-img check`, and why. A difference
 * that no row explains fails the test.
 */
import type { CheckReport } from "../../src/index.ts";

export interface Verdicts {
  readonly bytes: Uint8Array;
  readonly qemu: { readonly code: number; readonly stderr: string };
  /** Undefined when the header left nothing to check; then `refusal` says why. */
  readonly report: CheckReport | undefined;
  readonly refusal: string;
}

export interface Difference {
  readonly name: string;
  readonly why: string;
  readonly explains: (verdicts: Verdicts) => boolean;
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** From here on a number is not exact, and no file system has a file that reaches so far. */
const FAR = 2n ** 53n;

/** What `words` of ours name in hexadecimal. */
const namesFarOffset = (words: string): boolean =>
  [...words.matchAll(/0x([\da-f]+)/g)].some(([, digits]) => BigInt(`0x${digits}`) >= FAR - 2n ** 26n);

export const DIFFERENCES: readonly Difference[] = [
  {
    name: "no refcount table",
    why: "QEMU opens it for a check only, to rebuild the table; every other use of the image is refused by QEMU, and by us",
    explains: ({ refusal, bytes }) =>
      refusal.includes("does not contain a reference count table") && view(bytes).getUint32(56) === 0,
  },
  {
    name: "backing file name inside the header",
    why: "QEMU reads header fields as a name; such an image is damaged beyond what a check can weigh, and is refused",
    explains: ({ refusal, bytes }) =>
      refusal.includes("Invalid backing file offset") &&
      view(bytes).getBigUint64(8) < BigInt(view(bytes).getUint32(4) === 2 ? 72 : view(bytes).getUint32(100)),
  },
  {
    name: "an offset above 2^53 in the header or the bitmap directory",
    why: "QEMU sees a structure behind the end of the file, or one that nothing uses; we refuse to compute with it",
    explains: ({ refusal, report, qemu }) =>
      qemu.code !== 1 &&
      (namesFarOffset(refusal) ||
        report?.findings.some(({ kind, what }) => kind === "error" && what.includes("out of range")) ===
          true),
  },
  {
    name: "encrypted",
    why: "QEMU wants the passphrase before it opens the image; no metadata of qcow2 is encrypted, so we need none",
    explains: ({ qemu }) => qemu.code === 1 && qemu.stderr.includes("'encrypt.key-secret' is required"),
  },
  {
    name: "external data file",
    why: "QEMU opens the data file too, which these images do not have; its content is no part of a check",
    explains: ({ qemu, report }) =>
      qemu.code === 1 && qemu.stderr.includes("'data-file' is required") && report !== undefined,
  },
  {
    name: "fenced",
    why: "the bit that was turned is the mark of an interrupted operation, which no qemu opens and we look behind",
    explains: ({ qemu, report }) =>
      qemu.code === 1 &&
      qemu.stderr.includes("Unknown incompatible feature: 4000000000000000") &&
      report?.interrupted === true,
  },
];
