import { QcowalError } from "../errors/index.ts";
import type { Snapshot } from "../image/index.ts";
import type { SnapshotSelection } from "./operation.ts";

const utf8 = new TextEncoder();

function sameBytes(bytes: Uint8Array, text: string): boolean {
  return Buffer.compare(bytes, utf8.encode(text)) === 0;
}

/** Snapshots whose stored name is exactly `name`, byte for byte. */
export function snapshotsNamed<S extends Pick<Snapshot, "entry">>(
  snapshots: readonly S[],
  name: string,
): readonly S[] {
  return snapshots.filter(({ entry }) => sameBytes(entry.name, name));
}

/** @throws QcowalError SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS with the candidates in `details` */
export function selectSnapshot<S extends Snapshot>(
  image: string,
  snapshots: readonly S[],
  selection: SnapshotSelection,
): S {
  const { id, name = "", lookup = "unique" } = selection;
  if (id !== undefined) {
    const found = snapshots.filter(({ entry }) => sameBytes(entry.id, id));
    return single(image, found, `id ${id}`);
  }
  if (lookup === "id-then-name") {
    const byId = snapshots.find(({ entry }) => sameBytes(entry.id, name));
    if (byId !== undefined) return byId;
  }
  const named = snapshotsNamed(snapshots, name);
  const [first] = named;
  if (lookup !== "unique" && first !== undefined) return first;
  return single(image, named, JSON.stringify(name));
}

function single<S extends Snapshot>(image: string, found: readonly S[], what: string): S {
  const [first, ...others] = found;
  if (first === undefined) {
    throw new QcowalError(
      "SNAPSHOT_NOT_FOUND",
      `${image} has no snapshot ${what}. Nothing was changed; 'qcowal list' shows those it has.`,
    );
  }
  if (others.length > 0) {
    const candidates = found.map((snapshot) => ({
      id: snapshot.id,
      name: snapshot.name,
      date: new Date(snapshot.entry.dateSec * 1000).toISOString(),
    }));
    const lines = candidates.map((candidate) => `  id:${candidate.id}  ${candidate.date}`).join("\n");
    throw new QcowalError(
      "SNAPSHOT_AMBIGUOUS",
      `${image} has ${found.length} snapshots ${what}. Nothing was changed; select one by id:\n${lines}`,
      { details: { candidates } },
    );
  }
  return first;
}
