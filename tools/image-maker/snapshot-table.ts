import { roundUp, text, view } from "./bytes.ts";
import type { SnapshotRoot } from "./model.ts";
import type { ImageSpec } from "./spec.ts";

/** The snapshot table without padding after its last entry, as QEMU sizes it. */
export function renderSnapshotTable(
  spec: ImageSpec,
  snapshots: readonly SnapshotRoot[],
  clusterSize: number,
): Uint8Array {
  const entries = snapshots.map((snapshot, i) => renderEntry(spec, snapshot, i, clusterSize));
  const total = entries.reduce((sum, entry) => roundUp(sum, 8) + entry.length, 0);
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const entry of entries) {
    at = roundUp(at, 8);
    bytes.set(entry, at);
    at += entry.length;
  }
  return bytes;
}

function renderEntry(
  image: ImageSpec,
  snapshot: SnapshotRoot,
  position: number,
  clusterSize: number,
): Uint8Array {
  const { spec } = snapshot;
  const extra = renderExtra(image, snapshot);
  const id = text(spec.id ?? String(position + 1));
  const name = text(spec.name);
  const bytes = new Uint8Array(40 + extra.length + id.length + name.length);
  const fields = view(bytes);
  const small = snapshot.vmStateSize <= 0xffff_ffff ? snapshot.vmStateSize : 0;
  fields.setBigUint64(0, BigInt(snapshot.l1.first * clusterSize));
  fields.setUint32(8, snapshot.l1Size);
  fields.setUint16(12, id.length);
  fields.setUint16(14, name.length);
  fields.setUint32(16, spec.dateSec ?? 1_700_000_000 + position);
  fields.setUint32(20, spec.dateNsec ?? 0);
  fields.setBigUint64(24, spec.vmClockNsec ?? 0n);
  fields.setUint32(32, small);
  fields.setUint32(36, extra.length);
  bytes.set(extra, 40);
  bytes.set(id, 40 + extra.length);
  bytes.set(name, 40 + extra.length + id.length);
  return bytes;
}

/** A field counts only where the extra data reaches its end, so a spec must not need one that is cut off. */
function renderExtra(image: ImageSpec, snapshot: SnapshotRoot): Uint8Array {
  const { spec, diskSize, vmStateSize } = snapshot;
  const size = spec.extraSize ?? 24;
  if (size < 16 && diskSize !== image.virtualSize) throw new RangeError("the disk size needs 16 extra bytes");
  if (size < 24 && spec.icount !== undefined) throw new RangeError("icount needs 24 extra bytes");
  if (size < 8 && vmStateSize > 0xffff_ffff) throw new RangeError("a large VM state needs 8 extra bytes");
  const full = new Uint8Array(Math.max(24, size));
  const fields = view(full);
  fields.setBigUint64(0, BigInt(vmStateSize));
  fields.setBigUint64(8, BigInt(diskSize));
  fields.setBigUint64(16, spec.icount ?? 0xffff_ffff_ffff_ffffn);
  for (let i = 24; i < full.length; i++) full[i] = (0xa5 + i) & 0xff;
  return full.subarray(0, size);
}
