import { type SnapshotNode, parseDeletedName } from "../../index.ts";
import type { Terminal } from "../terminal.ts";
import { localTime, plural } from "./text.ts";

/** What a snapshot is called, also while it is kept under a reserved name because it was deleted recoverably. */
export const ownName = (name: string): string => parseDeletedName(name)?.name ?? name;

/** Not there for who does not ask for all: gone, or deleted and kept only to be brought back. */
export const isGone = ({ gone, snapshot }: SnapshotNode): boolean =>
  gone !== undefined || parseDeletedName(snapshot.name) !== undefined;

/** Until when it can be brought back, in words; empty for any other snapshot. */
export function keptUntil({ gone, snapshot }: SnapshotNode): string {
  const until = gone === undefined ? parseDeletedName(snapshot.name)?.until : undefined;
  return until === undefined ? "" : `deleted, kept until ${localTime(until)}`;
}

/** How many were left out because they are kept only to be brought back. */
export function sayHidden(hidden: number, terminal: Terminal): void {
  if (hidden === 0) return;
  terminal.say(
    `${plural(hidden, "deleted snapshot")} can be brought back; --all shows ${hidden === 1 ? "it" : "them"}.`,
  );
}
