import { shapes } from "../interop/shapes.ts";
import type { Shape } from "../interop/shapes/shape.ts";

/** How a kind of operation ends on such an image, in the words of the README. */
export type Answer = "yes" | "refused" | "after a repair";

export interface Variant extends Shape {
  /** Nor has it the room: it raises every refcount of a snapshot before it lowers those of the active layer. */
  readonly qemuCannotRevert?: boolean;
  /** Looks at the file after each step that succeeds; `write` tells whether a step before it has written. */
  readonly after?: (path: string, wrote: boolean) => Promise<void>;
}

/** A row of the README's table of formats. */
export interface Feature {
  readonly name: string;
  /** Default of the four: yes. */
  readonly listAndCheck?: Answer;
  readonly createAndDelete?: Answer;
  readonly revert?: Answer;
  readonly repair?: Answer;
  readonly note: string;
  readonly variants: readonly Variant[];
  /** What else the note says. */
  readonly more?: () => Promise<void>;
}

/** One of the shapes that are worked on beside qemu-img, by its name. */
export function shape(name: string): Shape {
  const found = shapes.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`there is no shape ${name}`);
  return found;
}
