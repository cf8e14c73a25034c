/**
 * How the cost grows with the image: `npm run bench:growth`. Times the first
 * `create`, which counts every cluster, on images from 1 GiB to 4 TiB in both
 * layouts, and prints the exponent: 1.0 is linear.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { requireBuiltCommand } from "../../test/support/command.ts";
import { must } from "../../test/support/programs.ts";
import { leanEnvironment } from "../lean-environment.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";
import { IMAGES, buildImage } from "./images/catalogue.ts";
import { sequential, shuffled } from "./images/write-orders.ts";
import { timedProcess } from "./measure/timed-process.ts";
import { seconds } from "./report/format.ts";

const GIB = 2 ** 30;
const SIZES = [1, 4, 16, 64, 256, 1024, 4096];
/** qemu-img is asked no further once it took so long. */
const PEER_SECONDS = 20;
/** Below this, what is timed is noise. */
const FROM_SECONDS = 0.1;

interface Point {
  readonly clusters: number;
  /** Without what starting the process takes. */
  readonly seconds: number;
}

/** Slope of the line through the points where both axes are logarithmic, by least squares. */
function exponent(points: readonly Point[]): string {
  const far = points.filter((point) => point.seconds >= FROM_SECONDS);
  if (far.length < 2) return "–";
  const xs = far.map(({ clusters }) => Math.log(clusters));
  const ys = far.map((point) => Math.log(point.seconds));
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(xs), mean(ys)];
  const covariance = mean(xs.map((value, index) => (value - x) * ((ys[index] ?? 0) - y)));
  return (covariance / mean(xs.map((value) => (value - x) ** 2))).toFixed(2);
}

async function time(
  source: string,
  folder: string,
  command: (image: string) => readonly string[],
): Promise<number> {
  const image = join(folder, "copy.qcow2");
  await must("cp", ["--sparse=always", "--reflink=auto", source, image]);
  await must("sync", ["-f", image]);
  const timed = await timedProcess(command(image));
  await rm(image);
  return timed.seconds;
}

const { values } = parseArgs({
  options: { dir: { type: "string", default: tmpdir() }, largest: { type: "string", default: "4096" } },
});
leanEnvironment();
ensureSystemPackages();
requireBuiltCommand();
const folder = await mkdtemp(join(values.dir, "qcowal-growth-"));
const starts = { ours: 0, peer: 0 };
const main = join(import.meta.dirname, "../../dist/qcowal.cjs");
const template = IMAGES[0];
if (template === undefined) throw new Error("there are no images");
try {
  starts.ours = (await timedProcess([process.execPath, main, "--version"])).seconds;
  starts.peer = (await timedProcess(["qemu-img", "--version"])).seconds;
  console.log("| layout | size | clusters | qemu-img | qcowal |\n| :-- | --: | --: | --: | --: |");
  const exponents: string[] = [];
  for (const [layout, order] of [["contiguous", sequential] as const, ["random order", shuffled] as const]) {
    const ours: Point[] = [];
    const peer: Point[] = [];
    for (const size of SIZES.filter((candidate) => candidate <= Number(values.largest))) {
      const source = join(folder, "source.qcow2");
      const clusters = size * 16_384;
      await buildImage(source, { ...template, virtualSize: size * GIB, order }, "plain");
      const our = await time(source, folder, (image) => [process.execPath, main, "create", "new", image]);
      ours.push({ clusters, seconds: our - starts.ours });
      let peerTime = "–";
      if ((peer.at(-1)?.seconds ?? 0) < PEER_SECONDS) {
        const their = await time(source, folder, (image) => ["qemu-img", "snapshot", "-c", "new", image]);
        peer.push({ clusters, seconds: their - starts.peer });
        peerTime = seconds(their);
      }
      console.log(
        `| ${layout} | ${size} GiB | ${clusters.toLocaleString("en-US")} | ${peerTime} | ${seconds(our)} |`,
      );
      await rm(source);
    }
    exponents.push(`${layout}: qemu-img ${exponent(peer)}, qcowal ${exponent(ours)}`);
  }
  console.log(`\nExponents, of the time without the start of the process: ${exponents.join("; ")}.`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
