/** Invents schedules of stores. */

import { makeContent, makeOps } from '../edits.js';
import { Random } from '../random.js';
import { type Words, makeWords } from '../words.js';
import { makeBody } from './body.js';
import type { Step, StoreSchedule } from './schedule.js';

export const START = 1_763_800_000_000;

/** Five minutes: how far ahead of the reader's clock TinyBase takes stamps. */
export const MAX_AHEAD_MS = 300_000;

export const makeSkew = (random: Random): number => {
  const size = random.pick([1, 7, 1_000, 60_000, MAX_AHEAD_MS - 1, MAX_AHEAD_MS, MAX_AHEAD_MS + 1, 3_600_000]);
  return random.oneIn(3) ? 0 : (random.oneIn(2) ? 1 : -1) * (random.oneIn(2) ? size : random.below(size));
};

const UNIQUE_IDS = ['alice', 'bob', 'S', '', 'é', '😀', '\uD800', 'x'.repeat(50), '0', '__proto__'] as const;

/** Different ids, except that seldom two stores write under one, whose stamps can then be equal. */
export const makeUniqueIds = (random: Random, count: number): string[] =>
  random.oneIn(25) ? Array.from({ length: count }, () => 'twin') : random.some(UNIQUE_IDS, count);

const STEPS = {
  edit: 40,
  apply: 34,
  pull: 8,
  merge: 5,
  inject: 4,
  load: 2,
  loadPlain: 1,
  skew: 2,
  check: 4,
} as const;

export const makeStoreSchedule = (seed: number): StoreSchedule => {
  const random = new Random(seed);
  const uniqueIds = makeUniqueIds(random, random.between(2, 4));
  const stores = uniqueIds.map((uniqueId) => ({ uniqueId, skewMs: makeSkew(random) }));
  const words = makeWords(random);
  const edits: number[] = [];
  let now = START;
  const steps: Step[] = Array.from({ length: random.between(6, 40) }, (_, id) => {
    now += random.pick([0, 0, 1, 1, 5, 1_000, 400_000]);
    const step = makeStep(random, words, stores.length, edits, { now, id });
    if ('edit' in step) edits.push(id);
    return step;
  });
  steps.push({ check: 'all' });
  if (random.oneIn(20)) steps.push(...unreadable(random, words, stores.length, now));
  return { kind: 'store', seed, stores, steps };
};

/** The end of a schedule, since the live contents differ from there on. */
const unreadable = (random: Random, words: Words, stores: number, now: number): Step[] => {
  const [at = 0, from = 0] = random.some([...Array(stores).keys()], 2);
  return [
    { now, inject: from, body: makeBody(random, words, now, true) },
    { now, pull: at, from },
    { check: 'saved' },
  ];
};

const makeStep = (
  random: Random,
  words: Words,
  stores: number,
  edits: readonly number[],
  { now, id }: { now: number; id: number },
): Step => {
  const [at = 0, from = 0] = random.some([...Array(stores).keys()], 2);
  const kind = random.weighted(edits.length > 0 ? STEPS : { ...STEPS, apply: 0 });
  switch (kind) {
    case 'apply':
      return { now, apply: at, diffOf: random.pick(edits) };
    case 'edit':
      return { now, edit: at, id, ops: makeOps(random, words), rollBack: !words.json && random.oneIn(6) };
    case 'pull':
      return { now, pull: at, from };
    case 'merge':
      return { now, merge: at, from };
    case 'load':
      return { now, load: at, from };
    case 'inject':
      return { now, inject: at, body: makeBody(random, words, now) };
    case 'loadPlain':
      return { now, loadPlain: at, content: makeContent(random, words) };
    case 'skew':
      return { skew: at, skewMs: makeSkew(random) };
    case 'check':
      return { check: 'all' };
  }
};
