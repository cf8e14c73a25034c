import type { SparseBytes } from "./sparse-bytes.ts";

/** A change of a file that is pending until the next sync of it. */
export type Change =
  | { readonly type: "write"; readonly offset: number; readonly data: Uint8Array }
  | { readonly type: "truncate"; readonly size: number }
  /** A hole punched: zeros, the length stays. */
  | { readonly type: "zero"; readonly offset: number; readonly length: number };

/** A file between two syncs: what is certain, and what happened since, in order. */
export interface UnsyncedFile {
  /** Not to be written to. */
  readonly durable: SparseBytes;
  readonly changes: readonly Change[];
}

export function applyChange(bytes: SparseBytes, change: Change): void {
  switch (change.type) {
    case "write":
      bytes.write(change.offset, change.data);
      return;
    case "truncate":
      bytes.truncate(change.size);
      return;
    case "zero":
      bytes.zero(change.offset, change.length);
  }
}
