import { readFile } from "node:fs/promises";
import type { Plugin } from "esbuild";

/** The package that has each, seen from the file that is bundled: what a dependency brings along is its own to find. */
const PLACES = [
  { file: /fs-native-extensions[/\\]binding\.js$/, through: ["fs-native-extensions"] },
  { file: /classic-level[/\\]binding\.js$/, through: ["level", "classic-level"] },
] as const;

/** Native code is looked for beside the file that asks for it: in the bundle that file says where its package is. */
export const addons: Plugin = {
  name: "addons",
  setup(build) {
    for (const { file, through } of PLACES) {
      build.onLoad({ filter: file }, async ({ path }) => {
        const source = await readFile(path, "utf8");
        const place = through.reduce(
          (from, name) => `require("node:module").createRequire(${from}).resolve(${JSON.stringify(name)})`,
          "__filename",
        );
        return {
          contents: source
            .replaceAll(/\b__dirname\b/g, `require("node:path").dirname(${place})`)
            .replaceAll(/\b__filename\b/g, place)
            // In the bundle all files have one and the same \`require\`: what one hangs on it the other would call.
            .replaceAll("require.addon", "exports.addon"),
        };
      });
    }
  },
};
