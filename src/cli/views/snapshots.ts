import type { SnapshotInfo } from "../../index.ts";
import { bytes, localTime, printable, table } from "./text.ts";

export function snapshotTable(snapshots: readonly SnapshotInfo[]): string {
  return table([
    ["ID", "NAME", "DATE", "DISK SIZE", "VM STATE"],
    ...snapshots.map(({ id, name, dateSec, diskSize, vmStateSize }) => [
      printable(id),
      printable(name),
      localTime(dateSec * 1000),
      diskSize === undefined ? "-" : bytes(diskSize),
      vmStateSize === 0 ? "-" : bytes(vmStateSize),
    ]),
  ]);
}
