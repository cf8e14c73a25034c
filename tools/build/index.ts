/**
 * Bundles the command: finding, reading and linking a hundred modules takes
 * longer than listing the snapshots of an image. CommonJS, because Node starts it
 * without its loader of ES modules. `dist/qcowal.cjs` starts `dist/command.cjs`
 * from its code cache. The thread that unpacks is a bundle for the same reason.
 */
import { join, resolve } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { addons } from "./addons.ts";
import { lazyBuiltins } from "./lazy-builtins.ts";
import { makeCodeCache } from "./make-code-cache.ts";
import { packageVersion } from "./package-version.ts";

const dist = resolve(import.meta.dirname, "../../dist");

const common: BuildOptions = {
  bundle: true,
  platform: "node",
  format: "cjs",
  // The source is kept in memory while the command runs: a third of it would be spaces.
  minifyWhitespace: true,
  // `start` relies on it.
  charset: "ascii",
  // It finds its WebAssembly beside itself, and is loaded by few.
  external: ["@foxglove/wasm-zstd"],
  logLevel: "warning",
};

await build({
  ...common,
  entryPoints: [join(dist, "src/cli/main.js")],
  outfile: join(dist, "command.cjs"),
  plugins: [addons, lazyBuiltins([join(dist, "src"), join(dist, "journal")]), packageVersion],
  // An import() of a CommonJS package has its source searched for exports first.
  supported: { "dynamic-import": false },
  define: { "import.meta.url": "qcowalFile" },
  banner: { js: `const qcowalFile = require("node:url").pathToFileURL(__filename).href;` },
});
await build({
  ...common,
  entryPoints: [join(dist, "src/cli/start.js")],
  outfile: join(dist, "qcowal.cjs"),
});
await build({
  ...common,
  entryPoints: [join(dist, "src/export/unpack-thread.js")],
  outfile: join(dist, "unpack-thread.cjs"),
  supported: { "dynamic-import": false },
});
await makeCodeCache(dist);
