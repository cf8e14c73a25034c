/**
 * Bundles the command: finding, reading and linking a hundred modules takes
 * longer than listing the snapshots of an image. `dist/qcowal.cjs` starts the
 * bundle of the commands that are asked for from its code cache. CommonJS, because
 * Node starts it without its loader of ES modules. The thread that unpacks is a
 * bundle for the same reason.
 */
import { join, resolve } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { BUNDLE_OF_ALL, GROUPS, type Group, bundleOf } from "../../src/cli/groups/groups.ts";
import { addons } from "./addons.ts";
import { lazyBuiltins } from "./lazy-builtins.ts";
import { makeCodeCaches } from "./make-code-cache.ts";
import { packageVersion } from "./package-version.ts";

const dist = resolve(import.meta.dirname, "../../dist");

const common: BuildOptions = {
  bundle: true,
  platform: "node",
  format: "cjs",
  // The source is kept in memory while the command runs: a third of it would be spaces. Names stay, for the stack of an error.
  minifyWhitespace: true,
  // Node shows the line where an error was thrown that nobody expected.
  lineLimit: 160,
  // `start` relies on it.
  charset: "ascii",
  // It finds its WebAssembly beside itself, and is loaded by few.
  external: ["@foxglove/wasm-zstd"],
  logLevel: "warning",
};

const plugins = [addons, lazyBuiltins([join(dist, "src"), join(dist, "journal")]), packageVersion];

async function bundleCommands(name: string, table: string): Promise<void> {
  await build({
    ...common,
    stdin: {
      contents: `import { main } from "./main.js"; import { commands } from "./groups/${table}.js"; main(commands);`,
      resolveDir: join(dist, "src/cli"),
    },
    outfile: join(dist, `${name}.cjs`),
    plugins,
    // An import() of a CommonJS package has its source searched for exports first.
    supported: { "dynamic-import": false },
    define: { "import.meta.url": "qcowalFile" },
    // `start` calls it. What is bundled was written as ES modules, which are strict.
    banner: {
      js: `(function (exports, require, module, __filename, __dirname) { "use strict"; const qcowalFile = require("node:url").pathToFileURL(__filename).href;`,
    },
    footer: { js: "})" },
  });
}

await bundleCommands(BUNDLE_OF_ALL, "all");
for (const group of Object.keys(GROUPS) as Group[]) await bundleCommands(bundleOf(group), group);
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
await makeCodeCaches(dist);
