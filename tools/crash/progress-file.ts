import { readFile, rename, writeFile } from "node:fs/promises";
import type { CaseResult } from "./run-case.ts";

/** A search over cases, so far: enough to go on with it another day. */
export interface Search {
  readonly seed: number;
  /** Cases 0 to `cases` are done. */
  readonly cases: number;
  readonly refused: number;
  readonly crashes: number;
  readonly recoveryCrashes: number;
  readonly before: number;
  readonly after: number;
  readonly fenced: number;
  readonly repairs: number;
  readonly qemuJudged: number;
  readonly seconds: number;
}

export const newSearch = (seed: number): Search => ({
  seed,
  cases: 0,
  refused: 0,
  crashes: 0,
  recoveryCrashes: 0,
  before: 0,
  after: 0,
  fenced: 0,
  repairs: 0,
  qemuJudged: 0,
  seconds: 0,
});

export const statesOf = ({ crashes, recoveryCrashes }: Pick<Search, "crashes" | "recoveryCrashes">): number =>
  crashes + recoveryCrashes;

export function adding(search: Search, result: CaseResult, qemuJudged: number): Search {
  return {
    ...search,
    cases: search.cases + 1,
    refused: search.refused + (result.refused === undefined ? 0 : 1),
    crashes: search.crashes + result.crashes,
    recoveryCrashes: search.recoveryCrashes + result.recoveryCrashes,
    before: search.before + result.before,
    after: search.after + result.after,
    fenced: search.fenced + result.fenced,
    repairs: search.repairs + result.repairs,
    qemuJudged: search.qemuJudged + qemuJudged,
  };
}

/** Undefined when there is no such file yet. */
export async function loadSearch(file: string): Promise<Search | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  const value = JSON.parse(text) as Record<string, unknown>;
  const search = { ...newSearch(0), ...value };
  if (!Object.values(search).every((field) => typeof field === "number" && Number.isFinite(field))) {
    throw new Error(`${file} is not the record of a search`);
  }
  return search;
}

/** Replaced in one step: a search that is stopped while it saves goes on from the save before. */
export async function saveSearch(file: string, search: Search): Promise<void> {
  await writeFile(`${file}.new`, `${JSON.stringify(search, undefined, 2)}\n`);
  await rename(`${file}.new`, file);
}
