/**
 * Images of many shapes, made by the real qemu-img and qemu-io: what the wild
 * may hold, as small as it can be. All are clean under `qemu-img check`.
 */
import { basicShapes } from "./shapes/basic.ts";
import { clusterShapes } from "./shapes/clusters.ts";
import { historyShapes } from "./shapes/history.ts";
import { growthShapes } from "./shapes/growth.ts";
import type { Shape } from "./shapes/shape.ts";

export type { Shape, ShapeFeatures } from "./shapes/shape.ts";
export { SECRET } from "./shapes/clusters.ts";

export const shapes: readonly Shape[] = [...basicShapes, ...clusterShapes, ...historyShapes, ...growthShapes];
