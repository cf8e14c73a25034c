import { readFile } from "node:fs/promises";
import type { Plugin } from "esbuild";

/** The bundle knows its version: to have Node look for the package that it is in takes a while at every start. */
export const packageVersion: Plugin = {
  name: "package-version",
  setup(build) {
    build.onLoad({ filter: /[/\\]cli[/\\]version\.js$/ }, async () => {
      const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
      const { version } = JSON.parse(text) as { version: string };
      return { contents: `export const version = ${JSON.stringify(version)};` };
    });
  },
};
