import type { Step } from "../../index.ts";

/** What a person sees while a transaction is on its way. */
export const STEP_WORDS: Readonly<Record<Step, string>> = {
  recover: "looking for interrupted operations",
  plan: "planning",
  prepare: "writing the plan to the journal",
  fence: "fencing the image",
  reserve: "writing new tables",
  commit: "deciding",
  raise: "raising refcounts",
  switch: "switching the header",
  lower: "lowering refcounts",
  discard: "giving freed space back",
  unfence: "removing the fence",
  settle: "closing the record",
};
