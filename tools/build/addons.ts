import type { Plugin } from "esbuild";

interface Addon {
  /** The file of its package that finds and loads the native code. */
  readonly finder: RegExp;
  readonly package: string;
  /** The package that has it, where that is another than ours. */
  readonly of?: string;
  /** In `prebuilds/<platform>-<arch>`, for the libc of most; the first that is there. */
  readonly files: readonly string[];
}

const ADDONS: readonly Addon[] = [
  {
    finder: /fs-native-extensions[/\\]binding\.js$/,
    package: "fs-native-extensions",
    files: ["fs-native-extensions.node"],
  },
  {
    finder: /classic-level[/\\]binding\.js$/,
    package: "classic-level",
    of: "level",
    files: ["classic-level.node", "classic-level.armv8.node"],
  },
];

/**
 * Native code is looked for where it nearly always is: beside the package, or
 * beside what the package is installed in. To go the way of the finder, through
 * folders and package files, takes longer than to load it; that is done where
 * nothing is there, another libc is in use, or somebody compiled a build of his own.
 */
const loader = ({ package: name, of, files }: Addon): string => `
  const { existsSync } = require("node:fs");
  const { join } = require("node:path");
  const { createRequire } = require("node:module");
  function loaded() {
    if (existsSync("/etc/alpine-release")) return undefined;
    for (const place of ["../node_modules", "../.."]) {
      const root = join(__dirname, place, ${JSON.stringify(name)});
      if (existsSync(join(root, "build"))) return undefined;
      const folder = join(root, "prebuilds", process.platform + "-" + process.arch);
      const file = ${JSON.stringify(files)}.map((name) => join(folder, name)).find(existsSync);
      if (file === undefined) continue;
      const module = { exports: {} };
      try {
        process.dlopen(module, file);
        return module.exports;
      } catch {
        return undefined;
      }
    }
    return undefined;
  }
  function found() {
    const ours = createRequire(__filename);
    const its = ${of === undefined ? "ours" : `createRequire(ours.resolve(${JSON.stringify(of)}))`};
    return createRequire(its.resolve(${JSON.stringify(name)}))("./binding.js");
  }
  module.exports = loaded() ?? found();`;

export const addons: Plugin = {
  name: "addons",
  setup(build) {
    for (const addon of ADDONS) build.onLoad({ filter: addon.finder }, () => ({ contents: loader(addon) }));
  },
};
