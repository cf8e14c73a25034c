/**
 * Asking first: what loses data without a way back is shown and asked about at a
 * terminal. Scripts are not asked, unless the operator turned that on.
 */
import { createInterface } from "node:readline/promises";
import {
  type DryRunReport,
  type Operation,
  type PruneReport,
  QcowalError,
  planOperations,
} from "../index.ts";
import { misuse } from "./misuse.ts";
import type { WriteOptions } from "./options.ts";
import { type RecoverFirstOptions, plannedAfter, recoverFirst } from "./recover-first.ts";
import type { Terminal } from "./terminal.ts";
import { planLines, pruneLossLines } from "./views/losses.ts";
import { localTime, quoted } from "./views/text.ts";

/** `1`: ask scripts too, which cannot answer and need --yes. `0`: never ask. */
const VARIABLE = "QCOWAL_CONFIRM";

export type ConfirmOptions = Pick<WriteOptions, "yes"> & {
  /** A revert may be offered to keep the present state. */
  readonly offersToKeep?: boolean;
};

/** True for what cannot be taken back: a snapshot that is freed, a disk that is not kept. */
function loses(operation: Operation): boolean {
  switch (operation.type) {
    case "delete":
      return operation.recoverableFor === undefined;
    case "revert":
      return operation.keep === undefined;
    case "create":
    case "rename":
    case "repair":
      return false;
  }
}

type Way = "go on" | "ask" | "refuse";

function wayToLose({ yes }: Pick<ConfirmOptions, "yes">): Way {
  const wanted = process.env[VARIABLE];
  if (yes === true || wanted === "0") return "go on";
  if (process.stdin.isTTY && process.stderr.isTTY) return "ask";
  return wanted === "1" ? "refuse" : "go on";
}

const wayFor = (operations: readonly Operation[], options: ConfirmOptions): Way =>
  operations.some(loses) ? wayToLose(options) : "go on";

const refusal = (remedy: string): Error =>
  misuse(`this loses data, and ${VARIABLE}=1 wants to be asked: say ${remedy}`);

const OR_KEEP = "--yes, or keep it (--keep, --recoverable)";

/**
 * The operations as they are to be run, after somebody agreed.
 * @throws QcowalError ABORTED if not
 */
export async function confirmed(
  terminal: Terminal,
  operations: readonly Operation[],
  journal: string,
  options: ConfirmOptions & RecoverFirstOptions,
): Promise<readonly Operation[]> {
  const way = wayFor(operations, options);
  if (way === "refuse") throw refusal(OR_KEEP);
  if (way === "go on") return operations;
  const isOffered =
    options.offersToKeep === true &&
    operations.some((operation) => operation.type === "revert" && loses(operation));
  const images = operations.map(({ image }) => image);
  const plan = await plannedAfter(
    () => recoverFirst(terminal, images, journal, options),
    () => planOperations(operations, { journal }),
  );
  show(operations, plan);
  return asked(async (ask) => {
    const keep = isOffered ? await offerToKeep(ask) : undefined;
    if (keep !== undefined) {
      return operations.map((operation) =>
        operation.type === "revert" ? { ...operation, keep } : operation,
      );
    }
    await assertYes(ask);
    return operations;
  });
}

/**
 * The same for a plan that is made already.
 * @throws QcowalError ABORTED if nobody agreed
 */
export async function assertConfirmed(
  operations: readonly Operation[],
  plan: DryRunReport,
  options: ConfirmOptions,
): Promise<void> {
  const way = wayFor(operations, options);
  if (way === "refuse") throw refusal(OR_KEEP);
  if (way === "go on") return;
  show(operations, plan);
  await asked(assertYes);
}

/** Whether a prune has to be planned before it is run: somebody may have to agree to it. */
export const mayAskToPrune = (options: Pick<ConfirmOptions, "yes">): boolean =>
  wayToLose(options) !== "go on";

/**
 * Asks about what keeping rules remove.
 * @throws QcowalError ABORTED if nobody agreed
 */
export async function assertPruneConfirmed(
  plan: PruneReport,
  options: Pick<ConfirmOptions, "yes">,
): Promise<void> {
  const isLosing = plan.images.some(({ verdicts }) => verdicts.some(({ keep }) => !keep));
  const way = isLosing ? wayToLose(options) : "go on";
  if (way === "refuse") throw refusal("--yes");
  if (way === "go on") return;
  say([...pruneLossLines(plan), DELETED]);
  await asked(assertYes);
}

const DELETED = "Deleted snapshots cannot be brought back.";

/** What will happen and what is lost, on stderr: stdout is for data. */
function show(operations: readonly Operation[], plan: DryRunReport): void {
  const isReverting = operations.some((operation) => operation.type === "revert" && loses(operation));
  const isDeleting = operations.some((operation) => operation.type === "delete" && loses(operation));
  say([
    ...planLines(plan),
    ...(isReverting ? ["What was written to the disk since its last snapshot is lost."] : []),
    ...(isDeleting ? [DELETED] : []),
  ]);
}

const say = (lines: readonly string[]): unknown => process.stderr.write(`${lines.join("\n")}\n`);

type Ask = (question: string) => Promise<string>;

async function asked<Result>(dialogue: (ask: Ask) => Promise<Result>): Promise<Result> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // Ctrl-C and the end of the input are answers too.
  const ended = new AbortController();
  lines.once("close", () => ended.abort());
  try {
    return await dialogue((question) =>
      lines.question(question, { signal: ended.signal }).catch(() => {
        throw calledOff();
      }),
    );
  } finally {
    lines.close();
  }
}

const calledOff = (): QcowalError => new QcowalError("ABORTED", "Called off. Nothing was changed.");

const isYes = (answer: string): boolean => /^y(es)?$/i.test(answer.trim());

async function assertYes(ask: Ask): Promise<void> {
  if (!isYes(await ask("Go on? [y/N] "))) throw calledOff();
}

/** The name of the snapshot that keeps the present state; undefined if that is not wanted. */
async function offerToKeep(ask: Ask): Promise<string | undefined> {
  const suggested = `before revert ${localTime(Date.now())}`;
  const answer = (
    await ask(`Keep the disk as it is now as a snapshot ${quoted(suggested)} first? [Y/n/name] `)
  ).trim();
  if (/^no?$/i.test(answer)) return undefined;
  return answer === "" || isYes(answer) ? suggested : answer;
}
