import type { OpenDisk } from "../disk/index.ts";
import type { Phase } from "../intent/index.ts";
import type { OpenReceived } from "../plan/index.ts";
import type { Guard } from "./guard.ts";
import type { RecoveredTransaction } from "./reports.ts";

/** Where a transaction stands. The steps of the protocol, in order; `recover` comes before them when needed. */
export type Step = "recover" | "plan" | "prepare" | "fence" | Phase | "commit" | "unfence" | "settle";

export interface ProgressEvent {
  readonly step: Step;
  /** Images of the transaction, by resolved path. */
  readonly images: readonly string[];
  /** The journal's number of the transaction; undefined before it has one. */
  readonly transaction: number | undefined;
  /** With step `recover`: an interrupted transaction on these images that has just been recovered. */
  readonly recovered?: RecoveredTransaction;
}

/**
 * Told when a step begins. What it throws aborts the transaction as long as it
 * is not committed; from then on it cannot stop it any more and becomes a
 * process warning.
 */
export type OnProgress = (event: ProgressEvent) => void;

export interface RunOptions {
  /** Why, for the record. */
  readonly reason?: string;
  /** A name for the record, beside user, host, pid and program. */
  readonly actor?: string;
  /** Aborts before the commit; later it has no effect, because the decision stands. */
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
}

/** What the layers above ask of a transaction and callers do not. */
export interface InternalRunOptions extends RunOptions {
  /** Number of the transaction that this one undoes. */
  readonly undoes?: number;
  /** They are asked in this order. */
  readonly guards?: readonly Guard[];
  /** What a receive brings. */
  readonly openReceived?: OpenReceived;
}

export interface FileId {
  readonly device: number;
  readonly inode: number;
  /** When the file was made, in milliseconds since 1970, where the file system says so: inodes are used again. */
  readonly born?: number;
}

/** The outer world of the engine; tests put a simulated one in its place. */
export interface Environment {
  readonly openDisk: OpenDisk;
  /** Absolute path with links resolved, so that one file has one name. Throws IMAGE_NOT_FOUND. */
  readonly resolvePath: (path: string) => Promise<string>;
  /** Which file is behind a path. */
  readonly fileId: (path: string) => Promise<FileId>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Name of the running program, for the record. */
  readonly program: string;
}
