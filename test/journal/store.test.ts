import { join } from "node:path";
import { openLevelStore } from "../../journal/level-store.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { describeStoreContract } from "../support/store-contract.ts";
import { scratch } from "./lab.ts";

describeStoreContract("LevelDB", async () => {
  const dir = join(await scratch(), "leveldb");
  return async () => {
    const store = await openLevelStore(dir, 0);
    if (store === undefined) throw new Error("the store is held");
    return store;
  };
});

describeStoreContract("the simulated store", async () => {
  let last = new SimulatedStore();
  return Promise.resolve(async () => {
    last = new SimulatedStore(last.log);
    return Promise.resolve(last);
  });
});
