/**
 * What recovery does with one image of a transaction: every combination of what
 * the journal says, what the fence says and what the image shows under the
 * transaction's intents is decided by exactly one row. A test walks them all.
 */
export const JOURNAL_STATES = ["none", "begun", "prepared", "committed"] as const;
export type JournalState = (typeof JOURNAL_STATES)[number];

export const FENCE_STATES = [
  "absent",
  /** Set, and by this transaction as far as the header tells. */
  "present",
  /** Set, and the header names another journal or transaction. */
  "other",
] as const;
export type FenceState = (typeof FENCE_STATES)[number];

export const IMAGE_STATES = [
  /** Every intent behind the commit shows its state before. */
  "before",
  /** Some intents show their state after, or a torn one. */
  "applied",
  /** Some bytes are neither, or cannot be read. */
  "foreign",
] as const;
export type ImageState = (typeof IMAGE_STATES)[number];

export type RecoveryAction =
  /** Nothing is pending and nothing is fenced. */
  | "nothing"
  /** Nothing was written to this image: record the abort. */
  | "abort"
  /** Only unreferenced clusters were written: give them back, unfence, record the abort. */
  | "give-back"
  /** Decided but not complete: apply every phase, unfence, settle. */
  | "replay"
  /**
   * Complete, unfencing comes last: settle and touch nothing, others may have
   * written since. Only a repair by a scan unfences what is not complete; what
   * the header shows then goes on the record, and nothing is written either.
   */
  | "settle"
  /** The fence belongs to a journal that is not this one: name it and leave the image alone. */
  | "refuse"
  /** The image contradicts the journal: stop before writing, keep the fence, report. */
  | "stop";

interface RecoveryRow {
  readonly journal: readonly JournalState[];
  readonly fence: readonly FenceState[];
  readonly image: readonly ImageState[];
  readonly action: RecoveryAction;
}

const ANY_IMAGE = IMAGE_STATES;

export const RECOVERY_TABLE: readonly RecoveryRow[] = [
  { journal: ["none"], fence: ["absent"], image: ANY_IMAGE, action: "nothing" },
  { journal: ["none"], fence: ["present"], image: ANY_IMAGE, action: "refuse" },
  { journal: JOURNAL_STATES, fence: ["other"], image: ANY_IMAGE, action: "refuse" },
  { journal: ["begun", "prepared"], fence: ["absent"], image: ANY_IMAGE, action: "abort" },
  // The fence is set only after `prepared` was synced: whoever fenced this image, it was not this transaction.
  { journal: ["begun"], fence: ["present"], image: ANY_IMAGE, action: "refuse" },
  { journal: ["prepared"], fence: ["present"], image: ["before"], action: "give-back" },
  // Intents are applied only after `committed` was synced: the journal has lost its end, and with it the decision.
  { journal: ["prepared"], fence: ["present"], image: ["applied"], action: "stop" },
  { journal: ["committed"], fence: ["absent"], image: ANY_IMAGE, action: "settle" },
  { journal: ["committed"], fence: ["present"], image: ["before", "applied"], action: "replay" },
  { journal: ["prepared", "committed"], fence: ["present"], image: ["foreign"], action: "stop" },
];

/** The one row that fits; none or several would be a bug in the table. */
export function recoveryAction(journal: JournalState, fence: FenceState, image: ImageState): RecoveryAction {
  const rows = RECOVERY_TABLE.filter(
    (row) => row.journal.includes(journal) && row.fence.includes(fence) && row.image.includes(image),
  );
  const [row] = rows;
  if (row === undefined || rows.length > 1) {
    throw new Error(`recovery table has ${rows.length} rows for ${journal}, ${fence}, ${image}`);
  }
  return row.action;
}
