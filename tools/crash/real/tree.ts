import { hash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Files with their contents, and directories, by absolute path; a directory comes before what is in it. */
export type Tree = TreeOf<Buffer>;

export type TreeOf<Content> = ReadonlyMap<string, Content | "directory">;

/*
 * Not by promises: what a thread of its own would do here takes less time than
 * to wake it, and thousands of states are written and read.
 */

/** Everything below a directory, itself not included. */
export function readTree(root: string): Tree {
  const tree = new Map<string, Buffer | "directory">();
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1))) {
    const path = pathOf(entry);
    tree.set(path, entry.isDirectory() ? "directory" : readFileSync(path));
  }
  return tree;
}

const pathOf = ({ parentPath, name }: { readonly parentPath: string; readonly name: string }): string =>
  join(parentPath, name);

/** Makes a directory hold this and nothing else. */
export function writeTree(root: string, tree: Tree): void {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  for (const [path, content] of tree) {
    if (content === "directory") mkdirSync(path);
    else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
  }
}

/** The first path where two trees differ. */
export function difference(a: Tree, b: Tree): string | undefined {
  return [...new Set([...a.keys(), ...b.keys()])].find((path) => {
    const [here, there] = [a.get(path), b.get(path)];
    return here instanceof Buffer && there instanceof Buffer ? !here.equals(there) : here !== there;
  });
}

/** LevelDB's diary and our hint for other processes: nobody decides anything by them. */
const IRRELEVANT = /\/(LOG|LOG\.old|LOCK|holder\.json)$/;

export const digestOf = (content: Buffer): string => hash("sha256", content, "hex");

/** Equal for trees in which everything that matters is equal; of contents it gets the digests. */
export function treeDigest(tree: TreeOf<string>): string {
  const lines = [...tree]
    .filter(([path]) => !IRRELEVANT.test(path))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, content]) => `${path} ${content}\n`);
  return hash("sha256", lines.join(""), "hex");
}
