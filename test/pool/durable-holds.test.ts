import { expect, test } from "vitest";
import { noteHolds } from "../../src/pool/holds.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { Machine } from "../support/machine.ts";
import { type Moment, live, newWorld } from "../support/world.ts";
import { SPEC } from "./lab.ts";

test("a hold that was said to be recorded is on disk: no power cut takes it", async () => {
  const path = "/memory/a.qcow2";
  const world = newWorld({ [path]: makeImage(SPEC) });
  let end: Moment | undefined;
  const { failure } = await live(
    world,
    new Machine(),
    (context) => noteHolds(context, [path], "hold", "one", {}),
    (type, moment) => {
      if (type === "end") end = moment();
    },
  );
  expect(failure).toBeUndefined();
  expect(end?.journal.pending).toEqual([]);
  // The journal itself, what was seen of the image, and the hold.
  expect(end?.journal.durable.length).toBeGreaterThanOrEqual(3);
});
