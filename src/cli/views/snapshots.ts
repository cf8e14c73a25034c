import { type Lineage, type SnapshotFacts, type SnapshotInfo, parseDeletedName } from "../../index.ts";
import { bytes, localTime, printable, quoted, tableLines } from "./text.ts";

/** A snapshot of an image, or of its record, which may know less. */
export type Listed = Pick<
  SnapshotInfo | SnapshotFacts,
  "id" | "name" | "dateSec" | "diskSize" | "vmStateSize"
>;

const fromText = ({ parent }: Lineage): string =>
  parent === undefined
    ? "?"
    : parent === null
      ? "-"
      : quoted(parseDeletedName(parent.name)?.name ?? parent.name);

/** The lines of a table of all snapshots, with what the record knows of where they come from. */
export function snapshotTable(snapshots: readonly Listed[], lineage?: readonly Lineage[]): Iterable<string> {
  // A column only for those who have schedules.
  const hasAutomatic = lineage?.some(({ isAutomatic }) => isAutomatic) === true;
  const hasHolds = lineage?.some(({ holds }) => holds.length > 0) === true;
  return tableLines(function* () {
    yield [
      "ID",
      "NAME",
      "DATE",
      "DISK SIZE",
      "VM STATE",
      ...(hasAutomatic ? ["TAKEN"] : []),
      ...(hasHolds ? ["HELD"] : []),
      ...(lineage === undefined ? [] : ["FROM", ""]),
    ];
    for (const [index, { id, name, dateSec, diskSize, vmStateSize }] of snapshots.entries()) {
      const known = lineage?.[index];
      yield [
        printable(id),
        printable(name),
        dateSec === undefined ? "-" : localTime(dateSec * 1000),
        diskSize === undefined ? "-" : bytes(diskSize),
        vmStateSize === undefined || vmStateSize === 0 ? "-" : bytes(vmStateSize),
        ...(hasAutomatic ? [known?.isAutomatic === true ? "by schedule" : "-"] : []),
        ...(hasHolds ? [printable(known?.holds.join(", ") ?? "") || "-"] : []),
        ...(known === undefined ? [] : [fromText(known), known.isCurrent ? "* the disk is here" : ""]),
      ];
    }
  });
}
