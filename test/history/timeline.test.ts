import { expect, test } from "vitest";
import { openJournalOn } from "../../journal/index.ts";
import { topicsOf } from "../../src/engine/index.ts";
import { timeline } from "../../src/history/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";

const ACTOR = { user: "me", host: "here", pid: 1, program: "test" };

test("the newest entries of one image cost what they are, not what ever happened to it", async () => {
  const store = new SimulatedStore();
  const journal = await openJournalOn(store, { dir: "/journal", create: true, topicsOf });
  if (journal === undefined) throw new Error("no journal");
  for (let count = 0; count < 300; count += 1) {
    const body = {
      type: "refused",
      operations: [],
      actor: ACTOR,
      asked: count,
      images: ["/a"],
      code: "IO_FAILED",
      why: "",
    };
    await journal.note(body, ["/a"]);
  }
  let reads = 0;
  const get = store.get.bind(store);
  store.get = (key) => {
    reads += 1;
    return get(key);
  };
  const newest: number[] = [];
  for await (const { began } of timeline(journal, ["/a"], { reverse: true })) {
    newest.push(began);
    if (newest.length === 10) break;
  }
  expect(newest).toEqual([299, 298, 297, 296, 295, 294, 293, 292, 291, 290]);
  expect(reads).toBeGreaterThan(0);
  expect(reads).toBeLessThan(60);
});
