import type { Snapshot } from "../image/index.ts";
import type { Mended } from "./operation.ts";

/** Names of snapshots as QEMU gives them are 255 bytes, those of damaged ones up to 64 KiB; a record of the journal takes 1 MiB. */
const MAX_BYTES = 256 * 1024;
/** What a name costs beside its text. */
const NAME_BYTES = 32;

/** Snapshots by their whole names, as many of the first as fit the record of a transaction. */
export function droppedSnapshots(
  snapshots: readonly Snapshot[],
): Pick<Mended, "snapshotsDropped" | "snapshotsDroppedUnnamed"> {
  const named: { readonly id: string; readonly name: string }[] = [];
  let bytes = 0;
  for (const { id, name } of snapshots) {
    bytes += NAME_BYTES + Buffer.byteLength(id) + Buffer.byteLength(name);
    if (bytes > MAX_BYTES) break;
    named.push({ id, name });
  }
  return { snapshotsDropped: named, snapshotsDroppedUnnamed: snapshots.length - named.length };
}
