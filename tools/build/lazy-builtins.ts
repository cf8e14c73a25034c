import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "esbuild";

/** What most commands do without: each brings a handful of modules of Node's own along, which take a while to load. */
const SELDOM =
  /^node:(child_process|crypto|net|readline\/promises|stream|stream\/(consumers|promises)|timers\/promises|tls|v8|vm|worker_threads)$/;

const IMPORT = /^import (?:\{([^}]*)\}|.*) from "(node:[^"]+)";$/gm;

/** The names that the compiled sources in `folders` import, by module. */
function importedNames(folders: readonly string[]): Map<string, Set<string>> {
  const names = new Map<string, Set<string>>();
  for (const folder of folders) {
    for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".js")) continue;
      for (const [, list, path = ""] of readFileSync(join(folder, file), "utf8").matchAll(IMPORT)) {
        if (list === undefined && SELDOM.test(path)) throw new Error(`${file} imports all of ${path}`);
        const known = names.get(path) ?? new Set();
        for (const name of (list ?? "").split(",")) known.add(name.replace(/ as .*/, "").trim());
        names.set(path, known);
      }
    }
  }
  return names;
}

/**
 * Modules of Node that are loaded when something of them is used. `folders` are
 * those of the compiled sources: each file that imports such a module gets all
 * that is exported, and there is much that nobody asks for.
 */
export function lazyBuiltins(folders: readonly string[]): Plugin {
  return {
    name: "lazy-builtins",
    setup(build) {
      const names = importedNames(folders);
      build.onResolve({ filter: SELDOM }, ({ path, importer, kind }) => {
        // The parser of the command line can start other programs, and takes it at once; none of ours does.
        const isCommander = path === "node:child_process" && importer.includes("commander");
        return isCommander || kind === "import-statement" ? { path, namespace: "lazy" } : undefined;
      });
      build.onLoad({ filter: /.*/, namespace: "lazy" }, ({ path }) => {
        if (path === "node:child_process") {
          return { contents: `exports.spawn = (...args) => require("node:child_process").spawn(...args);` };
        }
        // What is imported is looked up where it is used, so that a getter is enough.
        return {
          contents: `for (const name of ${JSON.stringify([...(names.get(path) ?? [])])}) {
          Object.defineProperty(exports, name, { enumerable: true, get: () => require("${path}")[name] });
        }`,
        };
      });
    },
  };
}
