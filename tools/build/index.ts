/**
 * Bundles the command into one file, `dist/qcowal.cjs`: finding, reading and
 * linking a hundred modules takes longer than listing the snapshots of an image.
 * CommonJS, because Node starts it without its loader of ES modules.
 */
import { join, resolve } from "node:path";
import { build } from "esbuild";

const dist = resolve(import.meta.dirname, "../../dist");

await build({
  entryPoints: [join(dist, "src/cli/main.js")],
  outfile: join(dist, "qcowal.cjs"),
  bundle: true,
  platform: "node",
  format: "cjs",
  // Only what opens a journal needs it, and then it is loaded.
  external: ["level"],
  // An import() of a CommonJS package has its source searched for exports first.
  supported: { "dynamic-import": false },
  define: {
    "import.meta.url": "qcowalFile",
    // Native code is looked for beside the file that asks for it, so the bundle asks as the package would.
    __filename: "addonFile",
  },
  banner: {
    js: `const qcowalFile = require("node:url").pathToFileURL(__filename).href, addonFile = require.resolve("fs-native-extensions");`,
  },
  // The source is kept in memory while the command runs: a third of it would be spaces.
  minifyWhitespace: true,
  logLevel: "warning",
});
