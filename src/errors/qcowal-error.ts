/**
 * Every failure that a caller may want to handle. Codes are stable across
 * releases, messages are not. Misuse of the API (a wrong argument type, an
 * unknown option) is a `TypeError` and has no code.
 */
export type ErrorCode =
  /** The image file does not exist or cannot be opened. */
  | "IMAGE_NOT_FOUND"
  /** A file is there already where a new image is to be made. */
  | "IMAGE_EXISTS"
  /** The file is not a qcow2 image. */
  | "IMAGE_NOT_QCOW2"
  /** Metadata of the image breaks the qcow2 specification; nothing was changed. */
  | "IMAGE_INVALID"
  /** The image uses a feature that snapshots cannot be combined with, or that this version does not know. */
  | "IMAGE_UNSUPPORTED"
  /** The dirty or the corrupt bit is set, or a repair found what no interrupted operation leaves: the tables cannot be trusted. */
  | "IMAGE_DAMAGED"
  /** The disk that was being read without locks is another one since: it was reverted or resized. */
  | "IMAGE_CHANGED"
  /** Another process holds the image. */
  | "IMAGE_IN_USE"
  /** The image is fenced by a transaction that was interrupted; recovery has to finish it first. */
  | "NEEDS_RECOVERY"
  /** A repair was asked for, but no interrupted operation holds the image. */
  | "NOTHING_TO_REPAIR"
  /** Bytes under an intent are neither those before nor those after it: somebody wrote behind the fence. */
  | "FOREIGN_WRITE"
  | "SNAPSHOT_NOT_FOUND"
  /** Several snapshots have the name; select one by id. */
  | "SNAPSHOT_AMBIGUOUS"
  /** Somebody holds the snapshot that was to be deleted, or nobody holds the one that was to be released. */
  | "SNAPSHOT_HELD"
  | "SNAPSHOT_NOT_HELD"
  | "SNAPSHOT_EXISTS"
  | "SNAPSHOT_NAME_INVALID"
  /** A transaction cannot be undone any more, or never could; the message says why. */
  | "UNDO_IMPOSSIBLE"
  /** A refcount would exceed what the image's refcount width can hold. */
  | "REFCOUNT_OVERFLOW"
  /** A limit of the format or of QEMU would be exceeded. */
  | "LIMIT_EXCEEDED"
  /** No space for the image or the journal; reserved space was given back. */
  | "NO_SPACE"
  /** A read, write or sync failed. */
  | "IO_FAILED"
  /** An earlier write or sync failed; only closing is possible, recovery decides on reopening. */
  | "IO_FAILED_EARLIER"
  /** Another process holds the journal. */
  | "JOURNAL_IN_USE"
  /** No journal where one is needed. */
  | "JOURNAL_NOT_FOUND"
  /** No transaction of the journal has the number. */
  | "TRANSACTION_NOT_FOUND"
  /** The record knows nothing of the image, at all or at that time. */
  | "NOT_RECORDED"
  /** A journal is there already where a new one is to be made. */
  | "JOURNAL_EXISTS"
  /** A record is missing, torn or edited. */
  | "JOURNAL_DAMAGED"
  /** What is to be imported is not a journal as it was exported; the line is named. */
  | "EXPORT_INVALID"
  /** A stream of changes is torn, altered or none at all; the place is named. */
  | "STREAM_INVALID"
  /** What a stream is to be applied to does not hold what the stream begins with. */
  | "TARGET_MISMATCH"
  /** What was asked for, the intents of an ended transaction, was dropped by a compaction of the journal. */
  | "JOURNAL_COMPACTED"
  /** What is to be written is there already, and was left as it is. */
  | "OUTPUT_EXISTS"
  /** The caller's signal was raised before the decision; nothing was changed. */
  | "ABORTED"
  /** The pool was closed. */
  | "POOL_CLOSED";

/** Details that help a program: the path, the snapshot candidates, the holder of a lock, ... */
export type ErrorDetails = Readonly<Record<string, unknown>>;

export interface QcowalErrorOptions {
  readonly cause?: unknown;
  readonly details?: ErrorDetails;
}

/** The one error class. `message` says what happened, what was not changed and what to do next. */
export class QcowalError extends Error {
  override readonly name = "QcowalError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: QcowalErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** True when `error` is a QcowalError, with the given code if one is named. */
export function isQcowalError(error: unknown, code?: ErrorCode): error is QcowalError {
  return error instanceof QcowalError && (code === undefined || error.code === code);
}
