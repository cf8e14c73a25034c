import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type Plugin, build as makeBundle } from "esbuild";

const root = resolve(import.meta.dirname, "../..");

/** Below `node_modules`, so that a bundle finds the packages that it leaves out. */
const BUNDLES = join(root, "node_modules/.cache/qcowal");

/** Each source goes on to find its neighbours: the programs and files that it names by its own place. */
const places: Plugin = {
  name: "places",
  setup(build) {
    build.onLoad({ filter: /\/(test|tools|src|journal)\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const contents = source.replaceAll("import.meta.dirname", () => JSON.stringify(dirname(path)));
      return { contents, loader: "ts" };
    });
  },
};

/** Puts one source in the place of another, for all but itself. */
const replacing = (original: string, replacement: string): Plugin => ({
  name: "replacing",
  setup(build) {
    build.onResolve(
      { filter: new RegExp(`/${basename(original).replaceAll(".", "\\.")}$`) },
      ({ path, importer, resolveDir }) =>
        resolve(resolveDir, path) === original && importer !== replacement
          ? { path: replacement }
          : undefined,
    );
  },
});

type Replacement = readonly [original: string, replacement: string];

const made = new Map<string, Promise<string>>();

/**
 * Makes one file of JavaScript of a process's sources and returns its path. A
 * search calls from module to module all the time: what translates each by
 * itself, when it is imported, costs a search a fifth of its time, and a short
 * process most of it. An entry has the same replacements each time.
 */
export function bundled(entry: string, replacements: readonly Replacement[] = []): Promise<string> {
  let file = made.get(entry);
  if (file === undefined) made.set(entry, (file = make(entry, replacements)));
  return file;
}

async function make(entry: string, replacements: readonly Replacement[]): Promise<string> {
  const name = entry
    .slice(root.length + 1)
    .replaceAll("/", "-")
    .replace(/\.ts$/, ".mjs");
  const file = join(BUNDLES, name);
  // Two tests may make the same at the same time, and a process may read it meanwhile.
  const draft = `${file}.${randomUUID()}`;
  await mkdir(BUNDLES, { recursive: true });
  await makeBundle({
    entryPoints: [entry],
    outfile: draft,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    logLevel: "warning",
    plugins: [places, ...replacements.map(([original, replacement]) => replacing(original, replacement))],
  });
  await rename(draft, file);
  return file;
}
