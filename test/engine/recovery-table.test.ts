import { describe, expect, test } from "vitest";
import {
  FENCE_STATES,
  IMAGE_STATES,
  JOURNAL_STATES,
  RECOVERY_TABLE,
  recoveryAction,
} from "../../src/engine/index.ts";

const combinations = JOURNAL_STATES.flatMap((journal) =>
  FENCE_STATES.flatMap((fence) => IMAGE_STATES.map((image) => ({ journal, fence, image }))),
);

describe("the recovery table", () => {
  test.each(combinations)("has exactly one row for $journal, $fence, $image", ({ journal, fence, image }) => {
    expect(() => recoveryAction(journal, fence, image)).not.toThrow();
  });

  test("has no row that no combination reaches", () => {
    for (const row of RECOVERY_TABLE) {
      const reached = combinations.some(
        ({ journal, fence, image }) =>
          row.journal.includes(journal) && row.fence.includes(fence) && row.image.includes(image),
      );
      expect(reached, JSON.stringify(row)).toBe(true);
    }
  });

  test("writes to an image only when its own transaction fenced it", () => {
    for (const { journal, fence, image } of combinations) {
      const action = recoveryAction(journal, fence, image);
      if (action === "replay" || action === "give-back") expect(fence).toBe("present");
    }
  });

  test("never writes over foreign bytes", () => {
    for (const journal of JOURNAL_STATES) {
      expect(["stop", "refuse"]).toContain(recoveryAction(journal, "present", "foreign"));
    }
  });

  test("finishes only what was committed, gives back only what was not", () => {
    for (const { journal, fence, image } of combinations) {
      const action = recoveryAction(journal, fence, image);
      if (action === "replay" || action === "settle") expect(journal).toBe("committed");
      if (action === "give-back" || action === "abort") expect(["begun", "prepared"]).toContain(journal);
    }
  });
});
