import fc from "fast-check";
import { expect, test } from "vitest";
import { type HistoryEntry, entriesUntil, snapshotTree } from "../../src/history/index.ts";
import type { SnapshotFacts } from "../../src/index.ts";
import { IMAGE, created, deleted, facts, renamed, reverted, seen } from "./entries.ts";

type Step = {
  readonly do: "create" | "revert" | "delete" | "rename" | "others create" | "others delete";
  readonly pick: number;
};

const steps = fc.array(
  fc.record<Step>({
    do: fc.constantFrom("create", "revert", "delete", "rename", "others create", "others delete"),
    pick: fc.nat(7),
  }),
  { maxLength: 40 },
);

/** What qcow2 would have, one list at a time: ids are one more than the largest, so they come again. */
class Model {
  snapshots: SnapshotFacts[] = [];
  #clock = 0;

  take(name: string): SnapshotFacts {
    const id = Math.max(0, ...this.snapshots.map((snapshot) => Number(snapshot.id))) + 1;
    const snapshot = facts(id, name, (this.#clock += 1));
    this.snapshots = [...this.snapshots, snapshot];
    return snapshot;
  }

  rename(snapshot: SnapshotFacts, name: string): void {
    this.snapshots = this.snapshots.map((other) => (other === snapshot ? { ...other, name } : other));
  }

  drop(pick: number): SnapshotFacts | undefined {
    const gone = this.snapshots[pick % this.snapshots.length];
    this.snapshots = this.snapshots.filter((snapshot) => snapshot !== gone);
    return gone;
  }
}

test("whatever happens, by us and by others, the tree has the snapshots that are there, and had them at every moment", () => {
  fc.assert(
    fc.property(steps, (list) => {
      const model = new Model();
      const entries: HistoryEntry[] = [seen(1, "first seen", [])];
      const states: (readonly SnapshotFacts[])[] = [[]];
      let isSeen = true;
      for (const { do: what, pick } of list) {
        const number = entries.length + 1;
        if (what === "others create") model.take(`theirs ${pick}`);
        if (what === "others delete") model.drop(pick);
        if (what.startsWith("others")) {
          isSeen = false;
          continue;
        }
        if (!isSeen) {
          entries.push(seen(number, "changed", model.snapshots));
          states.push(model.snapshots);
          isSeen = true;
        }
        const next = entries.length + 1;
        const picked = model.snapshots[pick % model.snapshots.length];
        if (what === "create") entries.push(created(next, model.take(`ours ${pick % 3}`)));
        else if (picked === undefined) continue;
        else if (what === "revert") entries.push(reverted(next, picked));
        else if (what === "rename") {
          entries.push(renamed(next, picked, `name ${pick % 2}`));
          model.rename(picked, `name ${pick % 2}`);
        } else entries.push(deleted(next, model.drop(pick) ?? picked));
        states.push(model.snapshots);
      }
      for (const [index, expected] of states.entries()) {
        const { nodes, live, current } = snapshotTree(
          entriesUntil(entries, { transaction: index + 1 }),
          IMAGE,
        );
        const byKey = new Map(nodes.map((node) => [node.key, node]));
        expect(byKey.size).toBe(nodes.length);
        expect(live.map((key) => byKey.get(key)?.snapshot)).toEqual(expected);
        for (const node of nodes) {
          expect(node.gone === undefined).toBe(live.includes(node.key));
          // Nothing was taken from what came later.
          if (typeof node.parent === "string") {
            expect(Number.parseInt(node.parent, 10)).toBeLessThan(node.came.transaction);
          }
        }
        if (typeof current === "string") expect(byKey.has(current)).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});
