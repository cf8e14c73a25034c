import { type Journal, journalExists } from "../../journal/index.ts";
import { QcowalError, isQcowalError } from "../errors/index.ts";
import { type FenceOwner, fenceOwner } from "../format/index.ts";
import type { ImageHead } from "../image/index.ts";
import { decodeBegun } from "./bodies.ts";

/** A path as one word of a command that somebody will paste into a shell. */
const shellWord = (path: string): string =>
  /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;

/** The command for an image whose journal cannot finish what it began. */
export const repairCommand = (path: string): string => `qcowal repair --without-journal ${shellWord(path)}`;

/**
 * The error for a fenced image that no pending transaction of `journal`
 * explains. It names the journal that can finish it; where that one was asked
 * already, or is gone, it says so and names the way that needs no journal.
 */
export async function fencedError(path: string, head: ImageHead, journal?: Journal): Promise<QcowalError> {
  const owner = fenceOwner(head.area);
  const what =
    owner === undefined
      ? `${path} is fenced by an interrupted operation, and its header has no room for the name of the journal. Nothing was changed; run 'qcowal recover' with the journal that was used (--journal DIR), or, if that is lost: ${repairCommand(path)}`
      : `${path} is fenced by an interrupted operation (transaction ${owner.transaction} of the journal ${owner.journal}). ${await nextStep(path, owner, journal)}`;
  return new QcowalError("NEEDS_RECOVERY", `${what}.`, { details: { path, owner } });
}

async function nextStep(path: string, owner: FenceOwner, journal: Journal | undefined): Promise<string> {
  if (journal?.id === owner.journalId) {
    return `${await whyUnknown(journal, path, owner.transaction)} Nothing was changed; restore the journal as it was, or run: ${repairCommand(path)}`;
  }
  if (journal !== undefined && journal.dir === owner.journal) {
    return `The journal that is there now is another one: it was made anew, or restored from elsewhere. Nothing was changed; restore the one that was used, or run: ${repairCommand(path)}`;
  }
  if (!(await journalExists(owner.journal))) {
    return `That journal is not there any more. Nothing was changed; restore it, name it where it is now ('qcowal recover --journal DIR'), or, if it is lost, run: ${repairCommand(path)}`;
  }
  return `Nothing was changed; run: qcowal recover --journal ${shellWord(owner.journal)} ${shellWord(path)}`;
}

const names = (begun: unknown, path: string): boolean =>
  decodeBegun(begun).images.some((image) => image.path === path);

/** Why the very journal that fenced the image cannot recover it. */
async function whyUnknown(journal: Journal, path: string, transaction: number): Promise<string> {
  const at = journal.dir;
  const pending = journal.pending().find((candidate) => candidate.transaction === transaction);
  if (pending !== undefined && pending.state !== "begun" && !names(pending.begun, path)) {
    const others = decodeBegun(pending.begun).images.map((image) => image.path);
    return `The journal in ${at} has it pending for ${others.join(", ")}: this image is a copy, or lay elsewhere.`;
  }
  try {
    for await (const { kind, body } of journal.records({ from: transaction, to: transaction })) {
      // An older copy that was used again has given the number to another transaction.
      if (kind !== "begun" || pending !== undefined || !names(body, path)) break;
      return `The journal in ${at} says that this transaction has ended: the image is a copy that was made before its end.`;
    }
  } catch (error) {
    if (!isQcowalError(error, "JOURNAL_DAMAGED")) throw error;
  }
  return `The journal in ${at} has lost its record of it: it is an older copy, or its end is missing.`;
}
