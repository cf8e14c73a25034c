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
 * Native code is taken from where Node would find its package: the folders are
 * looked for, and no package file is read, which takes longer than to load the
 * code. Where nothing is there, another libc is in use, or somebody compiled a
 * build of his own, the finder of the package is asked.
 */
const loader = ({ package: name, of, files }: Addon): string => `
  const { existsSync, realpathSync } = require("node:fs");
  const { dirname, join } = require("node:path");
  const { createRequire } = require("node:module");
  function packageSeenFrom(folder, name) {
    for (let at = folder; ; at = dirname(at)) {
      const place = join(at, "node_modules", name);
      if (existsSync(place)) return realpathSync(place);
      if (at === dirname(at)) return undefined;
    }
  }
  function loaded() {
    const from = ${of === undefined ? "__dirname" : `packageSeenFrom(__dirname, ${JSON.stringify(of)})`};
    const root = from && packageSeenFrom(from, ${JSON.stringify(name)});
    if (root === undefined || existsSync("/etc/alpine-release") || existsSync(join(root, "build"))) return undefined;
    const folder = join(root, "prebuilds", process.platform + "-" + process.arch);
    const file = ${JSON.stringify(files)}.map((name) => join(folder, name)).find(existsSync);
    if (file === undefined) return undefined;
    const module = { exports: {} };
    try {
      process.dlopen(module, file);
      return module.exports;
    } catch {
      return undefined;
    }
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
