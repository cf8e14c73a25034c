import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** Files with their contents, and directories, by absolute path; a directory comes before what is in it. */
export type Tree = ReadonlyMap<string, Buffer | "directory">;

/** Everything below a directory, itself not included. */
export async function readTree(root: string): Promise<Tree> {
  const tree = new Map<string, Buffer | "directory">();
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1))) {
    const path = pathOf(entry);
    tree.set(path, entry.isDirectory() ? "directory" : await readFile(path));
  }
  return tree;
}

const pathOf = ({ parentPath, name }: { readonly parentPath: string; readonly name: string }): string =>
  join(parentPath, name);

/** Makes a directory hold this and nothing else. */
export async function writeTree(root: string, tree: Tree): Promise<void> {
  await rm(root, { recursive: true, force: true });
  await mkdir(root, { recursive: true });
  for (const [path, content] of tree) {
    if (content === "directory") await mkdir(path);
    else {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, content);
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

const digests = new WeakMap<Buffer, string>();

function digestOf(content: Buffer): string {
  let digest = digests.get(content);
  if (digest === undefined)
    digests.set(content, (digest = createHash("sha256").update(content).digest("hex")));
  return digest;
}

/** Equal for trees in which everything that matters is equal. */
export function treeDigest(tree: Tree): string {
  const hash = createHash("sha256");
  for (const [path, content] of [...tree].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (!IRRELEVANT.test(path))
      hash.update(`${path} ${content === "directory" ? content : digestOf(content)}\n`);
  }
  return hash.digest("hex");
}
