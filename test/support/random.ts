/** One generator for tests and tools, so that a printed seed means the same everywhere. */
export { mix32, seededRandom } from "../../tools/image-maker/random.ts";
export type { Random } from "../../tools/image-maker/random.ts";
