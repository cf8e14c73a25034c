/**
 * Assembles the loops over table entries: `npm run kernel` after a change of
 * `src/format/table-kernel.wat`. The result is kept beside it, so that nobody who
 * runs or builds the rest needs an assembler; a test compares the two.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import wabt from "wabt";

const folder = resolve(import.meta.dirname, "../../src/format");
const source = join(folder, "table-kernel.wat");
const target = join(folder, "table-kernel-code.ts");

/** The module of the source in base64. */
export async function assembledKernel(): Promise<string> {
  const parsed = (await wabt()).parseWat(source, readFileSync(source, "utf8"), { simd: true });
  try {
    return Buffer.from(parsed.toBinary({}).buffer).toString("base64");
  } finally {
    parsed.destroy();
  }
}

if (process.argv[1] === import.meta.filename) {
  const code = await assembledKernel();
  writeFileSync(
    target,
    `/** \`table-kernel.wat\`, assembled. Made by \`npm run kernel\`. */\nexport const TABLE_KERNEL =\n  "${code}";\n`,
  );
}
