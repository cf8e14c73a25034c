import type { Plugin } from "esbuild";

/** The parser of the command line can start other programs. None of ours does, and to load what starts them takes a while. */
export const lazyChildProcess: Plugin = {
  name: "lazy-child-process",
  setup(build) {
    build.onResolve({ filter: /^node:child_process$/ }, ({ importer, namespace }) =>
      namespace === "file" && importer.includes("commander")
        ? { path: "child_process", namespace: "lazy" }
        : undefined,
    );
    build.onLoad({ filter: /.*/, namespace: "lazy" }, () => ({
      contents: `exports.spawn = (...args) => require("node:child_process").spawn(...args);`,
    }));
  },
};
