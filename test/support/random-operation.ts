import type { Operation } from "../../src/plan/index.ts";
import type { Random } from "./random.ts";

/** An operation that fits the snapshots there are; snapshots are named by id, because names repeat in the wild. */
export function randomOperation(
  random: Random,
  image: string,
  snapshots: readonly { readonly id: string }[],
  label: string,
): Operation {
  const kinds =
    snapshots.length === 0 ? (["create"] as const) : (["create", "revert", "delete", "rename"] as const);
  const type = random.pick(kinds);
  if (type === "create") return { type, image, name: label };
  const { id } = random.pick(snapshots);
  // Says nothing where there are no bitmaps.
  if (type === "rename") return { type, image, id, to: label };
  return type === "revert" && random.chance(0.5)
    ? { type, image, id, dropBitmaps: true }
    : { type, image, id };
}
