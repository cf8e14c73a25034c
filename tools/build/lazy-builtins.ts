import { createRequire } from "node:module";
import type { Plugin } from "esbuild";

const require = createRequire(import.meta.url);

/** What most commands do without: each brings a handful of modules of Node's own along, which take a while to load. */
const SELDOM =
  /^node:(child_process|net|readline\/promises|stream\/(consumers|promises)|timers\/promises|tls|v8|worker_threads)$/;

/** Modules of Node that are loaded when something of them is used. */
export const lazyBuiltins: Plugin = {
  name: "lazy-builtins",
  setup(build) {
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
      const names = JSON.stringify(Object.keys(require(path) as object));
      return {
        contents: `for (const name of ${names}) {
          Object.defineProperty(exports, name, { enumerable: true, get: () => require("${path}")[name] });
        }`,
      };
    });
  },
};
