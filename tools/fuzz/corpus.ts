import type { Operation } from "../../src/plan/index.ts";
import { Machine } from "../../test/support/machine.ts";
import { type World, attempt, newWorld, operate } from "../../test/support/world.ts";
import { visible } from "../../test/support/model.ts";
import { randomOperation } from "../../test/support/random-operation.ts";
import { type ImageSpec, type Random, makeImage, randomSpec } from "../image-maker/index.ts";
import type { RealImages } from "./real-images.ts";

export const PATH = "/memory/image.qcow2";

/** A sound image to be mutated. */
export interface Original {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Of an image that an interrupted operation holds: what its journal says. */
  readonly journal: World["journal"] | undefined;
}

/** What a mutant costs grows with its image. */
const LARGE_BYTES = 128 * 1024;

function drawn(random: Random): [ImageSpec, Uint8Array] {
  for (;;) {
    const maxClusterBits = random.chance(0.9) ? 10 : random.chance(0.7) ? 12 : 14;
    const spec = randomSpec(random, { maxClusterBits });
    const bytes = makeImage(spec);
    if (bytes.length <= LARGE_BYTES || random.chance(0.03)) return [spec, bytes];
  }
}

function made(random: Random): Original {
  const [spec, bytes] = drawn(random);
  const facts = [`v${spec.version}`, `clusters of ${2 ** spec.clusterBits}`, `${bytes.length} bytes`];
  return { name: facts.join(", "), bytes, journal: undefined };
}

const CRYPTO = 0x0537_be77;

/** With a LUKS header of two clusters: to the tables it is so many bytes of anything. */
function encrypted(random: Random): Original {
  const clusterBits = random.pick([9, 10, 12]);
  const clusterSize = 2 ** clusterBits;
  const sound = makeImage({
    version: 3,
    clusterBits,
    virtualSize: 60 * clusterSize,
    extensions: [{ type: CRYPTO, data: new Uint8Array(16) }],
    snapshots: [{ name: "one", changes: [{ at: 0, count: 9, kind: "data", seed: 1 }] }],
    active: { changes: [{ at: 4, count: 9, kind: "data", seed: 2 }] },
  });
  const first = Math.ceil(sound.length / clusterSize);
  const bytes = Buffer.alloc((first + 2) * clusterSize, 0x4c);
  bytes.fill(0, sound.length, first * clusterSize);
  bytes.set(sound);
  bytes.writeUInt32BE(2, 32);
  bytes.writeBigUInt64BE(BigInt(first * clusterSize), 112 + 8);
  bytes.writeBigUInt64BE(BigInt(clusterSize + 512), 112 + 16);
  const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
  bytes.writeUInt16BE(1, block + 2 * first);
  bytes.writeUInt16BE(1, block + 2 * first + 2);
  return { name: `LUKS header, clusters of ${clusterSize}`, bytes, journal: undefined };
}

/** Stopped somewhere in a transaction: fenced most of the time. */
async function interrupted(random: Random): Promise<Original> {
  const { name, bytes } = made(random);
  const world = newWorld({ [PATH]: bytes });
  const { snapshots } = visible(bytes);
  const unique = snapshots.filter(({ id }) => snapshots.filter((other) => other.id === id).length === 1);
  const operation: Operation = random.chance(0.2)
    ? { type: "repair", image: PATH, harden: true }
    : randomOperation(random, PATH, unique, "new");
  const whole = await attempt(world, [operation], new Machine());
  if (whole.failure !== undefined) return { name, bytes, journal: undefined };
  const stopAt = 1 + random.int(whole.machine.events);
  const { world: left } = await operate(world, [operation], stopAt);
  const file = left.images.get(PATH);
  return {
    name: `${operation.type} stopped at event ${stopAt} of ${whole.machine.events}, ${name}`,
    bytes: file?.bytes() ?? bytes,
    journal: left.journal,
  };
}

export async function originalFor(random: Random, real: RealImages): Promise<Original> {
  const kind = random.int(20);
  if (kind < 4) return interrupted(random);
  if (kind === 4) return encrypted(random);
  if (kind < 7) {
    const [name, bytes] = random.pick(real.all);
    return { name: `qemu-img, ${name}`, bytes, journal: undefined };
  }
  return made(random);
}
