import { basename } from "node:path";
import { QcowalError } from "../errors/index.ts";
import { type View, openView } from "../export/index.ts";
import {
  type NbdExport,
  type NbdServeOptions,
  type NbdServer,
  assertNotCalledOff,
  closable,
  serve,
} from "../nbd/index.ts";
import { ChangedSinceSnapshot } from "./changed-since.ts";
import { CurrentDisk } from "./current-disk.ts";
import { type SnapshotInfo, listSnapshots } from "./list-snapshots.ts";
import { OpenViews } from "./open-views.ts";
import type { SnapshotRef } from "./pool-options.ts";

export interface ServeOptions extends Omit<NbdServeOptions, "exports"> {
  /**
   * Name or id of a snapshot of each image: clients are told which parts of its
   * other exports are mapped otherwise, in the context `qcowal:changed:NAME`.
   */
  readonly changedSince?: SnapshotRef;
  /**
   * Take no locks, as `qemu-img -U`: beside a running VM. Snapshots stay as they are until they are deleted. Who reads
   * a disk that is reverted or resized meanwhile gets an error and is dropped, and who connects then gets it as it is.
   */
  readonly forceShare?: boolean;
}

/** A server, and what it serves. */
export interface ImageServer extends NbdServer {
  readonly exports: readonly { readonly name: string; readonly size: number; readonly image: string }[];
}

/**
 * Serves images to NBD clients, read-only: the active layer of each under the
 * name of its file without `.qcow2`, and each snapshot behind an `@`. Writers are
 * kept out until the server is closed.
 *
 * @throws TypeError for malformed options, or two images of one name
 * @throws QcowalError as `openView`, `listSnapshots` and `serve`; ABORTED; SNAPSHOT_NOT_FOUND for `changedSince`
 */
export async function serveImages(
  images: readonly string[],
  { changedSince, forceShare = false, signal, ...options }: ServeOptions,
): Promise<ImageServer> {
  assertNotCalledOff(signal);
  const called = signal === undefined ? {} : { signal };
  const views = new OpenViews();
  /** The disks; they hold the locks, where there are any, so that the other views are of the same image. */
  const held: Pick<View, "close">[] = [];
  const closeViews = async (): Promise<void> => {
    await views.close();
    await Promise.all(held.map((view) => view.close()));
  };
  try {
    const exports: ImageExport[] = [];
    for (const image of images) {
      const view = await openView(image, { forceShare, ...called });
      held.push(view);
      const snapshots = await listSnapshots(image, { forceShare, ...called });
      const { disk, ...others } = exportsOf(view, snapshots, views, { changedSince, forceShare });
      if (others.current !== undefined) held[held.length - 1] = others.current;
      exports.push(disk, ...others.snapshots);
    }
    const server = await serve({ ...options, ...called, exports });
    const close = await closable(signal, async () => {
      try {
        await server.close();
      } finally {
        await closeViews();
      }
    });
    return {
      exports: exports.map(({ name, disk, image }) => ({ name, size: disk.size, image })),
      address: server.address,
      get connections() {
        return server.connections;
      },
      uri: (name) => server.uri(name),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await closeViews();
    throw error;
  }
}

type ImageExport = NbdExport & { readonly image: string };

interface ImageExports {
  readonly disk: ImageExport;
  readonly snapshots: readonly ImageExport[];
  /** Has the view of the disk, where others may change it meanwhile. */
  readonly current?: CurrentDisk;
}

function exportsOf(
  view: View,
  snapshots: readonly SnapshotInfo[],
  views: OpenViews,
  how: { readonly changedSince: SnapshotRef | undefined; readonly forceShare: boolean },
): ImageExports {
  const { path: image } = view;
  const { forceShare } = how;
  const base = basename(image, ".qcow2");
  const since = how.changedSince === undefined ? undefined : idOf(image, snapshots, how.changedSince);
  const changed = (to: SnapshotRef | undefined, size: number): ChangedSinceSnapshot[] =>
    since === undefined || (typeof to === "object" && to.id === since.id)
      ? []
      : [new ChangedSinceSnapshot(since.label, image, { id: since.id }, to, size, forceShare)];
  // With locks nobody can change the disk while it is served.
  const current = forceShare ? CurrentDisk.of(view, (size) => changed(undefined, size)) : undefined;
  return {
    ...(current === undefined ? {} : { current }),
    disk: {
      name: base,
      description: `${image}, the disk as it is`,
      image,
      disk: view,
      changedSince: changed(undefined, view.size),
      ...(current === undefined ? {} : { ...current.seen, now: () => current.now() }),
    },
    snapshots: snapshots.map((snapshot) => {
      const ref = { id: snapshot.id };
      const size = snapshot.diskSize ?? view.size;
      return {
        name: `${base}@${labelOf(snapshot, snapshots)}`,
        description: `${image}, snapshot ${JSON.stringify(snapshot.name)} (id ${snapshot.id})`,
        disk: views.disk(size, () => openView(image, { snapshot: ref, forceShare })),
        image,
        changedSince: changed(ref, size),
      };
    }),
  };
}

/** A name that several have, or that is empty, does not say which. */
function labelOf({ id, name }: SnapshotInfo, snapshots: readonly SnapshotInfo[]): string {
  const isUnique = name !== "" && snapshots.filter((other) => other.name === name).length === 1;
  return isUnique ? name : `id:${id}`;
}

function idOf(
  image: string,
  snapshots: readonly SnapshotInfo[],
  ref: SnapshotRef,
): { readonly id: string; readonly label: string } {
  const found = snapshots.filter(({ id, name }) => (typeof ref === "string" ? name === ref : id === ref.id));
  const [first, ...others] = found;
  const what = typeof ref === "string" ? JSON.stringify(ref) : `id ${ref.id}`;
  if (first === undefined) {
    throw new QcowalError("SNAPSHOT_NOT_FOUND", `${image} has no snapshot ${what}. Nothing is served.`);
  }
  if (others.length > 0) {
    throw new QcowalError(
      "SNAPSHOT_AMBIGUOUS",
      `${image} has ${found.length} snapshots ${what}. Nothing is served; select one by its id.`,
    );
  }
  return { id: first.id, label: labelOf(first, snapshots) };
}
