import { createHash } from "node:crypto";
import { QcowalError } from "../../src/errors/index.ts";
import { newWorld } from "../../test/support/world.ts";
import { CrashError, type ExploreOptions, type Exploration, explore } from "./explore.ts";
import { crashCase } from "./cases.ts";

export interface CaseResult extends Exploration {
  readonly seed: number;
  readonly name: string;
  /** How many images the transaction has. */
  readonly images: number;
  /** Digest of the first image: runs count their different shapes by it. */
  readonly shape: string;
  /** The code of a refusal: nothing was changed, and there was nothing to crash. */
  readonly refused: string | undefined;
}

/** What the format or this version cannot do. Anything else that fails is a failure. */
const REFUSALS = new Set(["REFCOUNT_OVERFLOW", "IMAGE_UNSUPPORTED", "LIMIT_EXCEEDED"]);

const NOTHING: Exploration = {
  crashes: 0,
  recoveryCrashes: 0,
  before: 0,
  after: 0,
  fenced: 0,
  betweenFences: 0,
  betweenUnfences: 0,
  repairs: 0,
};

/** Fewer states of larger images, so that no case takes the time of a hundred others. */
function effortFor(bytes: number): Pick<ExploreOptions, "limits" | "cutRecoveries" | "repair"> {
  const share = Math.min(1, (128 * 1024) / bytes);
  return {
    limits: { all: Math.ceil(64 * share), tears: Math.ceil(3 * share), samples: Math.ceil(12 * share) },
    cutRecoveries: Math.ceil(6 * share),
    repair: 0.1,
  };
}

/** Explores one case. Throws an error that names the seed to replay. */
export async function runCase(
  seed: number,
  options: Partial<Omit<ExploreOptions, "random">> = {},
): Promise<CaseResult> {
  const { name, images, operations, random } = crashCase(seed);
  const [first = new Uint8Array()] = Object.values(images);
  const shape = createHash("sha1").update(first).digest("hex");
  const result = (exploration: Exploration, refused?: string): CaseResult => ({
    ...exploration,
    seed,
    name,
    images: Object.keys(images).length,
    shape,
    refused,
  });
  try {
    const bytes = Object.values(images).reduce((sum, { length }) => sum + length, 0);
    return result(await explore(newWorld(images), operations, { ...effortFor(bytes), ...options, random }));
  } catch (error) {
    if (error instanceof QcowalError && REFUSALS.has(error.code)) return result(NOTHING, error.code);
    const what = error instanceof CrashError ? error.message : String(error);
    throw new Error(`case ${seed} (${name}): ${what}\nReplay it: npm run crash -- --case ${seed}`, {
      cause: error,
    });
  }
}
