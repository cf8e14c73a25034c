import { dirname } from "node:path";
import type { Actor, HistoryEntry, HistoryImage, HistoryStatus, OperationOutcome } from "../../index.ts";
import type { Paint } from "../colours.ts";
import { namesOf, observationText } from "./observation.ts";
import { askedFor } from "./operations.ts";
import { mendedText } from "./repair.ts";
import { bytes, grouped, localTime, printable, quoted, shownPath, table } from "./text.ts";

export const who = ({ user, host, program, pid, name }: Actor): string =>
  printable(`${name === undefined ? "" : `${name}, `}${user}@${host} ${program}[${pid}]`);

const HEAD = ["NO", "BEGAN", "STATUS", "OPERATION", "IMAGE", "TOOK", "CHANGED", "FREED", "WHO", "REASON"];

/** What was asked of each image, or found there. */
function actionsOf(entry: HistoryEntry): { what: string; image: string }[] {
  const { operations, images, repair, status, hold } = entry;
  if (repair !== undefined) {
    const { interrupted } = repair;
    const what = interrupted === undefined ? "repair" : `repair after ${interrupted.transaction}`;
    return images.map(({ image }) => ({ what, image }));
  }
  if (hold !== undefined) {
    const { snapshot, tag } = hold;
    const verb = status === "held" ? "hold" : "release";
    const what = `${verb} ${quoted(snapshot.name)} (id ${printable(snapshot.id)}) as ${printable(tag)}`;
    return images.map(({ image }) => ({ what, image }));
  }
  if (status === "observed") return images.map(({ image }) => ({ what: "-", image }));
  const done = new Map<string, number>();
  return operations.map((operation) => {
    // A revert that keeps the present state has two outcomes: the snapshot that it took comes first.
    const before = operation.type === "revert" && operation.keep !== undefined ? 1 : 0;
    const index = (done.get(operation.image) ?? 0) + before;
    done.set(operation.image, index + 1);
    const outcome = images.find(({ image }) => image === operation.image)?.outcomes[index];
    return { what: askedFor(operation) + idOf(outcome, operation), image: operation.image };
  });
}

/** The id behind a name, where it was not asked for by that. */
function idOf(outcome: OperationOutcome | undefined, operation: HistoryEntry["operations"][number]): string {
  if (outcome === undefined || outcome.type === "repair" || outcome.type === "receive") return "";
  if ("id" in operation && operation.id !== undefined) return ` (${quoted(outcome.snapshot.name)})`;
  return ` (id ${printable(outcome.snapshot.id)})`;
}

export function took({ began, ended }: HistoryEntry): string {
  if (ended === undefined) return "";
  const milliseconds = ended - began;
  return milliseconds < 10_000
    ? `${(milliseconds / 1000).toFixed(3)} s`
    : `${Math.round(milliseconds / 1000)} s`;
}

const sum = (images: readonly HistoryImage[], field: "refcountsChanged" | "bytesFreed"): number =>
  images.reduce((total, image) => total + image[field], 0);

function rowsOf(entry: HistoryEntry, base: string): string[][] {
  const { transaction, began, status, images, actor, reason } = entry;
  const changed = sum(images, "refcountsChanged");
  const freed = sum(images, "bytesFreed");
  return actionsOf(entry).map(({ what, image }, index) => {
    // A journal usually lies beside its images.
    const action = [what, shownPath(image, base)];
    if (index > 0) return ["", "", "", ...action];
    return [
      String(transaction),
      localTime(began),
      status,
      ...action,
      took(entry),
      changed === 0 ? "" : grouped(changed),
      freed === 0 ? "" : bytes(freed),
      who(actor),
      reason === undefined ? "" : quoted(reason),
    ];
  });
}

/** What does not fit into columns: why something did not happen, and what others had done. */
export function remarksOf(entry: HistoryEntry, base: string): string[] {
  const { images, undoes, why, doubt, recoveredBy, recoveryReason } = entry;
  return [
    ...images.flatMap(({ image, observed }) =>
      observed === undefined
        ? []
        : [
            `${shownPath(image, base)} ${observationText(observed, base)}; its snapshots: ${namesOf(observed.snapshots, observed.unlisted)}`,
          ],
    ),
    ...images.flatMap(({ outcomes }) =>
      outcomes.flatMap((outcome) => (outcome.type === "repair" ? [mendedText(outcome, false)] : [])),
    ),
    ...(undoes === undefined ? [] : [`undid transaction ${undoes}`]),
    ...(why === undefined ? [] : [printable(why)]),
    ...(doubt === undefined ? [] : [`but ${printable(doubt)}`]),
    ...(recoveredBy === undefined
      ? []
      : [
          `recovered by ${who(recoveredBy)}${recoveryReason === undefined ? "" : `: ${quoted(recoveryReason)}`}`,
        ]),
  ];
}

const STYLES: Partial<Record<HistoryStatus, "red" | "yellow">> = {
  refused: "yellow",
  failed: "red",
  "called off": "yellow",
  "aborted by recovery": "yellow",
  unconfirmed: "red",
  observed: "yellow",
  pending: "red",
};

/** Entries as lines of one table, although they come one after the other. */
export class HistoryTable {
  readonly #base: string;
  readonly #paint: Paint;
  #rows: string[][] = [HEAD];

  constructor(journal: string, paint: Paint) {
    this.#base = dirname(journal);
    this.#paint = paint;
  }

  head(): string {
    return this.#paint("bold", HEAD.join("  "));
  }

  /** The header and the entries, or with `bare` the entries alone, below what was there before. */
  lines(entries: readonly HistoryEntry[], bare = false): string {
    const groups = entries.map((entry) => ({ entry, rows: rowsOf(entry, this.#base) }));
    const before = this.#rows.length;
    this.#rows.push(...groups.flatMap(({ rows }) => rows));
    const lines = table(this.#rows).split("\n");
    const shown = bare ? [] : [this.#paint("bold", lines[0] ?? "")];
    let at = before;
    for (const { entry, rows } of groups) {
      const style = STYLES[entry.status];
      for (const line of lines.slice(at, at + rows.length)) {
        shown.push(style === undefined ? line : this.#paint(style, line));
      }
      at += rows.length;
      for (const remark of remarksOf(entry, this.#base)) shown.push(this.#paint("dim", `      ${remark}`));
    }
    // Enough of them to keep the columns where they are.
    this.#rows = [HEAD, ...this.#rows.slice(1).slice(-KEPT_ROWS)];
    return shown.join("\n");
  }
}

const KEPT_ROWS = 200;

const iso = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** As the API returns it, with times that a person and `date -d` can read. */
export function entryJson({ began, ended, ...entry }: HistoryEntry): Record<string, unknown> {
  return {
    ...entry,
    began: iso(began),
    ...(ended === undefined ? {} : { ended: iso(ended), durationMs: ended - began }),
  };
}
