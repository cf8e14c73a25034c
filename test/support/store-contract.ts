import { afterEach, describe, expect, test } from "vitest";
import type { Store } from "../../journal/index.ts";

/** Opens the store of a place; the same place again has what was put there. */
export type OpenStore = () => Promise<Store>;

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
const key = (number: number): string => number.toString(16).padStart(16, "0");

/** What every adapter of the Store port promises. */
export function describeStoreContract(name: string, newPlace: () => Promise<OpenStore>): void {
  describe(`${name} keeps the contract of a store:`, () => {
    const opened: Store[] = [];

    const place = async (): Promise<OpenStore> => {
      const open = await newPlace();
      return async () => {
        const store = await open();
        opened.push(store);
        return store;
      };
    };

    const entriesOf = async (
      store: Store,
      from = key(0),
      to = key(0xffff),
    ): Promise<[string, number[]][]> => {
      const found: [string, number[]][] = [];
      for await (const [at, value] of store.entries(from, to)) found.push([at, [...value]]);
      return found;
    };

    afterEach(async () => {
      await Promise.all(opened.splice(0).map((store) => store.close()));
    });

    test("a new one is empty", async () => {
      const store = await (await place())();
      expect(await store.last()).toBeUndefined();
      expect(await store.get(key(1))).toBeUndefined();
      expect(await entriesOf(store)).toEqual([]);
    });

    test("what was put is there, by its key and in key order", async () => {
      const store = await (await place())();
      await store.put([[key(2), bytes(2)]], false);
      await store.put([[key(16), bytes(16)]], true);
      await store.put([[key(1), bytes(1, 1)]], false);
      expect([...((await store.get(key(1))) ?? [])]).toEqual([1, 1]);
      const [first, none, second] = await store.getMany([key(2), key(3), key(1)]);
      expect([[...(first ?? [])], none, [...(second ?? [])]]).toEqual([[2], undefined, [1, 1]]);
      expect(await store.getMany([])).toEqual([]);
      expect(await entriesOf(store)).toEqual([
        [key(1), [1, 1]],
        [key(2), [2]],
        [key(16), [16]],
      ]);
      expect((await store.last())?.[0]).toBe(key(16));
    });

    test("a range includes both its ends", async () => {
      const store = await (await place())();
      await store.put(
        [1, 2, 3, 4].map((number) => [key(number), bytes(number)] as const),
        true,
      );
      expect(await entriesOf(store, key(2), key(3))).toEqual([
        [key(2), [2]],
        [key(3), [3]],
      ]);
    });

    test("a range can be read from its end", async () => {
      const store = await (await place())();
      await store.put(
        [1, 2, 3, 4].map((number) => [key(number), bytes(number)] as const),
        true,
      );
      const found: number[][] = [];
      for await (const [, value] of store.entries(key(2), key(3), true)) found.push([...value]);
      expect(found).toEqual([[3], [2]]);
    });

    test("an iteration sees what was there when it began", async () => {
      const store = await (await place())();
      await store.put(
        [1, 2, 3].map((number) => [key(number), bytes(number)] as const),
        true,
      );
      const found: number[][] = [];
      for await (const [, value] of store.entries(key(0), key(9))) {
        if (found.length === 0) await store.put([[key(4), bytes(4)]], true, [key(2), key(3)]);
        found.push([...value]);
      }
      expect(found).toEqual([[1], [2], [3]]);
    });

    test("a later put of a key takes its place", async () => {
      const store = await (await place())();
      await store.put([[key(1), bytes(1)]], true);
      await store.put([[key(1), bytes(9)]], true);
      expect(await entriesOf(store)).toEqual([[key(1), [9]]]);
    });

    test("a put removes stale keys, those that are missing too", async () => {
      const store = await (await place())();
      await store.put(
        [1, 2, 3].map((number) => [key(number), bytes(number)] as const),
        true,
      );
      await store.put([[key(4), bytes(4)]], true, [key(2), key(3), key(7)]);
      expect(await entriesOf(store)).toEqual([
        [key(1), [1]],
        [key(4), [4]],
      ]);
    });

    test("a put of nothing, which makes durable what came before, changes nothing", async () => {
      const store = await (await place())();
      await store.put([[key(1), bytes(1)]], false);
      await store.put([], true);
      expect(await entriesOf(store)).toEqual([[key(1), [1]]]);
    });

    test("compacting a range leaves what is there, and the size is that of something", async () => {
      const store = await (await place())();
      await store.put(
        [1, 2, 3, 4].map((number) => [key(number), bytes(number)] as const),
        true,
      );
      await store.put([], true, [key(2), key(3)]);
      await store.compact(key(1), key(4));
      expect(await entriesOf(store)).toEqual([
        [key(1), [1]],
        [key(4), [4]],
      ]);
      expect(await store.size()).toBeGreaterThan(0);
    });

    test("the caller may use its buffer again once a put has resolved", async () => {
      const store = await (await place())();
      const buffer = bytes(1, 2, 3);
      await store.put([[key(1), buffer]], true);
      buffer.fill(0);
      expect([...((await store.get(key(1))) ?? [])]).toEqual([1, 2, 3]);
    });

    test("an empty value and one of a megabyte come back whole", async () => {
      const store = await (await place())();
      const long = new Uint8Array(2 ** 20).fill(0xa5);
      await store.put([[key(1), bytes()]], true);
      await store.put([[key(2), long]], true);
      expect((await store.get(key(1)))?.length).toBe(0);
      expect(Buffer.compare((await store.get(key(2))) ?? bytes(), long)).toBe(0);
    });

    test("everything is there when the next one opens it", async () => {
      const open = await place();
      const store = await open();
      await store.put([[key(1), bytes(1)]], true);
      await store.put([[key(2), bytes(2)]], false);
      await store.close();
      expect(await entriesOf(await open())).toEqual([
        [key(1), [1]],
        [key(2), [2]],
      ]);
    });
  });
}
