import { createRequire } from "node:module";

/** Of the package. */
export const { version } = createRequire(import.meta.url)("qcowal/package.json") as { version: string };
