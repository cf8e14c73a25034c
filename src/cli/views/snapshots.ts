import type { SnapshotInfo } from "../../index.ts";
import { bytes, localTime, printable, tableLines } from "./text.ts";

/** The lines of a table of all snapshots. */
export function snapshotTable(snapshots: readonly SnapshotInfo[]): Iterable<string> {
  return tableLines(function* () {
    yield ["ID", "NAME", "DATE", "DISK SIZE", "VM STATE"];
    for (const { id, name, dateSec, diskSize, vmStateSize } of snapshots) {
      yield [
        printable(id),
        printable(name),
        localTime(dateSec * 1000),
        diskSize === undefined ? "-" : bytes(diskSize),
        vmStateSize === 0 ? "-" : bytes(vmStateSize),
      ];
    }
  });
}
