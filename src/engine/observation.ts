import { createHash } from "node:crypto";
import type { SnapshotEntry } from "../format/index.ts";
import { type SnapshotFacts, snapshotFacts } from "../image/index.ts";

/**
 * What an image showed when it was opened that the record did not know: others
 * have changed it, or put another file in its place, or it was never seen before.
 */
export interface Observation {
  /**
   * - `first seen`: nothing in the record leads to it.
   * - `moved`: the same file had another path, `from`, where it is no more.
   * - `linked`: the same file has another path, `from`, too.
   * - `copied`: another file, with the snapshots that `from` had after `as`.
   * - `replaced`: another file at the same path.
   * - `changed`: the same file, with other snapshots.
   * - `listed`: the same file; the record could not tell which snapshots it has.
   */
  readonly what: "listed" | "first seen" | "moved" | "linked" | "copied" | "replaced" | "changed";
  readonly from?: string;
  /** With `copied`: nothing is at `from` any more, so it may as well have been moved to another file system. */
  readonly fromGone?: boolean;
  /** The newest transaction after which the image (with `copied`: `from`) had these same snapshots, as in a backup. */
  readonly as?: number;
  /** The snapshots it has now, as many as fit into a record. */
  readonly snapshots: readonly SnapshotFacts[];
  /** How many more there are. */
  readonly unlisted?: number;
  /** `tableDigest` of all of them. */
  readonly digest: string;
}

/** What of an observation says which snapshots there are; a record has at most 1 MiB. */
export function listed(
  entries: readonly SnapshotEntry[],
  maxBytes: number,
): Pick<Observation, "snapshots" | "unlisted"> {
  const snapshots: SnapshotFacts[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const facts = snapshotFacts(entry);
    bytes += FACTS_BYTES + Buffer.byteLength(facts.id) + Buffer.byteLength(facts.name);
    if (bytes > maxBytes) return { snapshots, unlisted: entries.length - snapshots.length };
    snapshots.push(facts);
  }
  return { snapshots };
}

/** More than the facts of a snapshot take beside its texts. */
const FACTS_BYTES = 256;

/**
 * SHA-256 in hex over what every reader sees of the snapshots, in table order.
 * Where their tables lie does not count: QEMU moves them.
 */
export function tableDigest(entries: readonly SnapshotEntry[]): string {
  const hash = createHash("sha256");
  for (const entry of entries) {
    const { id, name, dateSec, dateNsec, vmClockNsec, vmStateSize, diskSize, icount } = entry;
    const numbers = [dateSec, dateNsec, vmClockNsec, vmStateSize, diskSize ?? "", icount ?? ""];
    hash
      .update(`${id.length} ${name.length} ${numbers.join(" ")}\n`)
      .update(id)
      .update(name);
  }
  return hash.digest("hex");
}

/**
 * Of an image without snapshots: it says nothing about where the image comes from.
 * SHA-256 of nothing, written out: what only reads has no use for a hash, which takes a while to load.
 */
export const NO_SNAPSHOTS = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
