/** A change of one file's contents. Paths are absolute. */
export type FileChange =
  | { readonly kind: "write"; readonly path: string; readonly offset: number; readonly data: Buffer }
  | { readonly kind: "truncate"; readonly path: string; readonly size: number }
  /** Zeros; grows the file unless it keeps its size. */
  | {
      readonly kind: "zero";
      readonly path: string;
      readonly offset: number;
      readonly length: number;
      readonly keepsSize: boolean;
    };

/** A change of a directory's entries. */
export type EntryChange =
  | { readonly kind: "create"; readonly path: string }
  | { readonly kind: "mkdir"; readonly path: string }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly path: string; readonly to: string }
  /** A second name. */
  | { readonly kind: "link"; readonly path: string; readonly to: string };

/** A sync of a file or a directory that returned: it covers the first `covers` events of the recording. */
export interface Sync {
  readonly kind: "sync";
  readonly path: string;
  readonly covers: number;
}

/** What a program did to files, in the order in which it took effect: a change as it began, a sync as it returned. */
export type Event = FileChange | EntryChange | Sync;

/** What a change leaves of a file; the buffer that it gets stays as it is. */
export function changed(before: Buffer, change: FileChange): Buffer {
  switch (change.kind) {
    case "truncate":
      return resized(before, change.size);
    case "zero": {
      const end = change.offset + change.length;
      const next = resized(before, sizeAfter(before.length, change));
      return next.fill(0, Math.min(change.offset, next.length), Math.min(end, next.length));
    }
    case "write": {
      const next = resized(before, sizeAfter(before.length, change));
      change.data.copy(next, change.offset);
      return next;
    }
  }
}

export function sizeAfter(before: number, change: FileChange): number {
  switch (change.kind) {
    case "truncate":
      return change.size;
    case "zero":
      return change.keepsSize ? before : Math.max(before, change.offset + change.length);
    case "write":
      return Math.max(before, change.offset + change.data.length);
  }
}

/** A copy, cut off or with zeros behind it. */
export function resized(before: Buffer, size: number): Buffer {
  const next = Buffer.alloc(size);
  before.copy(next);
  return next;
}
