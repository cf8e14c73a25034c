import type { Operation } from "../../src/plan/index.ts";
import type { Random } from "./random.ts";

/** An operation that fits the snapshots there are; snapshots are named by id, because names repeat in the wild. */
export function randomOperation(
  random: Random,
  image: string,
  snapshots: readonly { readonly id: string; readonly name: string }[],
  label: string,
): Operation {
  const kinds =
    snapshots.length === 0 ? (["create"] as const) : (["create", "revert", "delete", "rename"] as const);
  const type = random.pick(kinds);
  if (type === "create") return { type, image, name: label };
  const { id, name } = random.pick(snapshots);
  // Says nothing where there are no bitmaps.
  if (type === "rename") return { type, image, id, to: label };
  if (type === "delete") return { type, image, id, ...recoverable(random, name) };
  const keep = random.chance(0.3) ? { keep: `before ${label}` } : {};
  return type === "revert" && random.chance(0.5)
    ? { type, image, id, dropBitmaps: true, ...keep }
    : { type, image, id, ...keep };
}

/** Not where the name would become longer than a name may be, which is a refusal. */
export const recoverable = (random: Random, name: string): { recoverableFor?: number } =>
  random.chance(0.25) && Buffer.byteLength(name) <= 200
    ? { recoverableFor: 1000 * (1 + random.int(1_000_000)) }
    : {};
