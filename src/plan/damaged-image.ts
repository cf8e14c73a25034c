import { QcowalError } from "../errors/index.ts";

/** What the tables say contradicts itself: nothing can be planned on it. */
export function damagedImage(path: string, what: string): QcowalError {
  return new QcowalError(
    "IMAGE_INVALID",
    `${path}: ${what}. Nothing was changed; see 'qcowal check' and 'qcowal repair'.`,
  );
}
