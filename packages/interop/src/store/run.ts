/** Runs a schedule in TinyBase itself. */

import { createMergeableStore, type MergeableStore } from 'tinybase/mergeable-store';

import { Counts } from '../counts.js';
import { fromWire, type Json, objectOf, toWire, withUndefined } from '../json.js';
import { editStore } from './edit.js';
import type { Edit, Outcome, Step, StoreSchedule } from './schedule.js';

/**
 * What TinyBase's own persisters and synchronizers use of a store: content, transaction changes, setting content and applying
 * changes, all in the encoded form that is saved and sent.
 */
interface Encoded {
  __: [
    hadMutated: unknown,
    content: () => unknown,
    changes: (withHashes: boolean) => [[object], [object], 1],
    setContent: (content: unknown) => void,
    applyChanges: (changes: unknown) => void,
  ];
  _: unknown[];
}

const PLAIN_CONTENT = 7;
const SET_PLAIN_CONTENT = 9;

/** The saved form, character for character. */
export const savedContent = (store: MergeableStore): string => toWire(encodedOf(store).__[1]());

const encodedOf = (store: MergeableStore): Encoded => store as unknown as Encoded;

class Host {
  readonly store: MergeableStore;
  now = 0;
  diff: string | undefined;

  constructor(
    uniqueId: string,
    public skewMs: number,
  ) {
    this.store = createMergeableStore(uniqueId, () => this.now + this.skewMs);
    this.store.addDidFinishTransactionListener(() => {
      const changes = encodedOf(this.store).__[2](false);
      const touched = Object.keys(changes[0][0]).length + Object.keys(changes[1][0]).length > 0;
      this.diff = touched ? toWire(changes) : undefined;
    });
  }

  get encoded(): Encoded['__'] {
    return encodedOf(this.store).__;
  }

  apply(changes: unknown): void {
    this.encoded[4](changes);
  }
}

/** The outcome of each step. */
export const runStores = (schedule: StoreSchedule, counts = new Counts()): Outcome[] => {
  const world = new World(schedule, counts);
  return schedule.steps.map((step) => world.step(step));
};

class World {
  readonly #hosts: Host[];
  readonly #diffs = new Map<number, string>();
  /** Which diffs have reached which store. */
  readonly #applied = new Set<string>();
  readonly #latest = new Map<number, number>();

  constructor(
    schedule: StoreSchedule,
    readonly counts: Counts,
  ) {
    this.#hosts = schedule.stores.map(({ uniqueId, skewMs }) => new Host(uniqueId, skewMs));
    if (schedule.stores.some(({ skewMs }) => skewMs !== 0)) counts.add('store: clocks skewed');
  }

  step(step: Step): Outcome {
    if ('check' in step) {
      const saved = this.#hosts.map(({ store }) => savedContent(store));
      return step.check === 'all' ? [...saved, ...this.#hosts.map(({ store }) => live(store))] : saved;
    }
    if ('skew' in step) {
      const host = this.#host(step.skew);
      this.counts.add(step.skewMs < host.skewMs ? 'store: clock set back' : 'store: clock set forward');
      host.skewMs = step.skewMs;
      return [];
    }
    const [at, outcome] = this.#change(step);
    return [...outcome, ...this.#host(at).store.getMergeableContentHashes()];
  }

  #host(at: number): Host {
    const host = this.#hosts[at];
    if (!host) throw new Error(`there is no store ${at}`);
    return host;
  }

  #change(step: Exclude<Step, { check: unknown } | { skew: number }>): [at: number, outcome: Outcome] {
    if ('edit' in step) return [step.edit, this.#edit(this.#clock(step.edit, step), step)];
    if ('pull' in step) return [step.pull, this.#pull(this.#clock(step.pull, step), this.#host(step.from))];
    if ('apply' in step) {
      const diff = this.#diffs.get(step.diffOf);
      const host = this.#clock(step.apply, step);
      if (diff !== undefined) {
        this.#countApply(step.apply, step.diffOf);
        host.apply(fromWire(diff));
      }
      return [step.apply, []];
    }
    if ('inject' in step) {
      this.counts.add('store: changes made by hand');
      this.#clock(step.inject, step).apply(withUndefined(step.body));
      return [step.inject, []];
    }
    if ('merge' in step) {
      this.counts.add('store: whole content merged');
      const content = fromWire(savedContent(this.#host(step.from).store)) as unknown[];
      this.#clock(step.merge, step).apply([...content, 1]);
      return [step.merge, []];
    }
    if ('load' in step) {
      this.counts.add('store: saved content loaded');
      const content = fromWire(savedContent(this.#host(step.from).store));
      this.#clock(step.load, step).encoded[3](content);
      return [step.load, []];
    }
    this.counts.add('store: plain content loaded');
    const { store } = this.#clock(step.loadPlain, step);
    (encodedOf(store)._[SET_PLAIN_CONTENT] as (content: unknown) => void)(withUndefined(step.content));
    return [step.loadPlain, []];
  }

  #clock(at: number, { now }: { now: number }): Host {
    const host = this.#host(at);
    host.now = now;
    return host;
  }

  #edit(host: Host, { id, ops, rollBack }: Edit): Outcome {
    host.diff = undefined;
    const ended = editStore(host.store, ops, rollBack);
    if (ended !== 'done') {
      this.counts.add(rollBack ? 'store: transaction rolled back' : 'store: write overtaken');
      return [ended, null];
    }
    if (host.diff !== undefined) this.#diffs.set(id, host.diff);
    return [ended, host.diff === undefined ? null : (JSON.parse(host.diff) as Json)];
  }

  #countApply(at: number, diffOf: number): void {
    const key = `${at} ${diffOf}`;
    if (this.#applied.has(key)) this.counts.add('store: diff applied twice');
    this.#applied.add(key);
    if ((this.#latest.get(at) ?? -1) > diffOf) this.counts.add('store: diff applied late');
    this.#latest.set(at, Math.max(this.#latest.get(at) ?? -1, diffOf));
  }

  /** The ladder of hashes, each rung's answer applied at once. */
  #pull(host: Host, { store: from }: Host): Outcome {
    this.counts.add('store: pulled by hashes');
    const { store } = host;
    const said: Changes[] = [];
    const apply = (changes: Changes): void => {
      said.push(changes);
      host.apply(changes);
    };
    const asked = store.getMergeableTableHashes();
    const [newTables, tables] = from.getMergeableTableDiff(asked);
    apply([newTables, [{}], 1]);
    const rowHashes = withEmpty(tables, asked, store.getMergeableRowHashes(tables));
    const [newRows, rows] = from.getMergeableRowDiff(rowHashes);
    apply([newRows, [{}], 1]);
    const cellHashes = objectOf(
      Object.entries(withEmpty(rows, rowHashes, store.getMergeableCellHashes(rows))).map(([table, cells]) => [
        table,
        withEmpty(rows[table] ?? {}, rowHashes[table] ?? {}, cells),
      ]),
    );
    apply([from.getMergeableCellDiff(cellHashes), [{}], 1]);
    const valueHashes = store.getMergeableValueHashes();
    apply([[{}], from.getMergeableValueDiff(valueHashes), 1]);
    const outcome = [...said.map(withoutEmptyHlcs), asked, tables, rowHashes, rows, cellHashes, valueHashes];
    return JSON.parse(toWire(outcome)) as Outcome;
  }
}

/**
 * TinyBase does not ask for what is inside a container of its own that has nothing in it, though the other one has something
 * there, so such a container never catches up. This project asks, and so does this test.
 */
const withEmpty = <V extends object>(differing: object, own: object, asked: Record<string, V>): Record<string, V> =>
  objectOf(
    Object.keys(differing).flatMap((id) => (Object.hasOwn(own, id) ? [[id, Object.hasOwn(asked, id) ? (asked[id] as V) : ({} as V)] as const] : [])),
  );

/** Answers give cells without HLC as `[thing, ""]` or as `[thing]`, which mean the same. */
const withoutEmptyHlcs = ([tables, values]: Changes): Changes => [stamped(tables, 3), stamped(values, 1), 1];

type Changes = [tables: unknown, values: unknown, 1];

const stamped = (stamp: unknown, depth: number): unknown => {
  const [thing, hlc] = stamp as [unknown, string?];
  const inside =
    depth === 0 ? thing : objectOf(Object.entries(thing as object).map(([id, child]) => [id, stamped(child, depth - 1)]));
  return hlc ? [inside, hlc] : [inside];
};

/** What is live, with its order, as the driver's `live`. */
export const live = (store: MergeableStore): Json => {
  const [tables, values] = plainContent(store);
  return [
    store.getTableIds().map((table) => [
      table,
      store.getRowIds(table).map((row) => [
        row,
        store.getCellIds(table, row).map((cell) => [cell, tables[table]?.[row]?.[cell] ?? null]),
      ]),
    ]),
    store.getValueIds().map((value) => [value, values[value] ?? null]),
  ] as Json;
};

type Things = Record<string, Json>;

const plainContent = (store: MergeableStore): [Record<string, Record<string, Things>>, Things] =>
  (encodedOf(store)._[PLAIN_CONTENT] as () => [Record<string, Record<string, Things>>, Things])();
