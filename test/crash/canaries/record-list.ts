/** Bugs of the record: of what the journal holds, and when it does. */
import { vi } from "vitest";
import { Journal } from "../../../journal/index.ts";
import type { Canary } from "./list.ts";

const ALL = ["create", "revert", "delete"] as const;

/** The journal's methods before any bug replaces them; called with the journal they are spied on. */
/* oxlint-disable typescript/unbound-method */
const real = {
  prepare: Journal.prototype.prepare,
  commit: Journal.prototype.commit,
  settle: Journal.prototype.settle,
};
/* oxlint-enable typescript/unbound-method */

export const RECORD_CANARIES: readonly Canary[] = [
  {
    name: "intents that the journal does not hold",
    subjects: ALL,
    bug: {
      journal: () => {
        vi.spyOn(Journal.prototype, "prepare").mockImplementation(async function empty(
          this: Journal,
          transaction,
          body,
        ) {
          await real.prepare.call(this, transaction, body);
        });
      },
    },
  },
  {
    name: "one intent that is not logged",
    subjects: ["revert", "delete"],
    bug: {
      // Only the replay takes its parts from the journal.
      parts: (part, { isRecovery }) =>
        isRecovery && part.phase === "lower" ? [{ ...part, intents: [...part.intents].slice(1) }] : [part],
    },
  },
  {
    name: "a phase that is not replayed",
    subjects: ["create", "revert"],
    bug: { parts: (part, { isRecovery }) => (isRecovery && part.phase === "raise" ? [] : [part]) },
  },
  { name: "a plan that is not synced", subjects: ALL, bug: { unsyncedRecord: "prepared" } },
  { name: "a decision that is not synced", subjects: ALL, bug: { unsyncedRecord: "committed" } },
  {
    name: "a plan that is recorded behind the fence",
    subjects: ["create"],
    bug: {
      journal: () => {
        let late: readonly [body: unknown, parts: readonly unknown[]] = [undefined, []];
        vi.spyOn(Journal.prototype, "prepare").mockImplementation(async (_transaction, body, parts = []) => {
          late = [body, [...parts]];
          return Promise.resolve();
        });
        vi.spyOn(Journal.prototype, "commit").mockImplementation(async function late_(
          this: Journal,
          transaction,
          body,
        ) {
          await real.prepare.call(this, transaction, ...late);
          await real.commit.call(this, transaction, body);
        });
      },
    },
  },
  {
    name: "a decision before the reserved clusters are written",
    subjects: ["create in long clusters"],
    bug: {
      journal: () => {
        vi.spyOn(Journal.prototype, "prepare").mockImplementation(async function early(
          this: Journal,
          transaction,
          body,
          parts,
        ) {
          await real.prepare.call(this, transaction, body, parts);
          await real.commit.call(this, transaction);
        });
        vi.spyOn(Journal.prototype, "commit").mockResolvedValue(undefined);
      },
    },
  },
  {
    name: "a decision that is never recorded",
    subjects: ALL,
    bug: {
      journal: () => {
        vi.spyOn(Journal.prototype, "commit").mockResolvedValue(undefined);
        vi.spyOn(Journal.prototype, "settle").mockResolvedValue(undefined);
      },
    },
  },
  {
    name: "an end that is recorded before the fence is gone",
    subjects: ALL,
    bug: {
      journal: () => {
        vi.spyOn(Journal.prototype, "commit").mockImplementation(async function early(
          this: Journal,
          transaction,
          body,
        ) {
          await real.commit.call(this, transaction, body);
          await real.settle.call(this, transaction, { recovered: false });
        });
        vi.spyOn(Journal.prototype, "settle").mockResolvedValue(undefined);
      },
    },
  },
];
