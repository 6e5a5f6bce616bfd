/** Schedules of every kind, behind one face. */

import { isDeepStrictEqual } from 'node:util';

import type { Counts } from './counts.js';
import { type Driver, DriverError } from './driver.js';
import { makeStoreSchedule } from './store/generate.js';
import { runStores } from './store/run.js';
import type { Outcome, StoreSchedule } from './store/schedule.js';

export type Schedule = StoreSchedule;
export type Kind = Schedule['kind'];

/** Where TinyBase and this project part. */
export interface Disagreement {
  step: number;
  what: string;
  tinybase: unknown;
  rust: unknown;
}

export const makeSchedule = (_kind: Kind, seed: number): Schedule => makeStoreSchedule(seed);

/** Runs a schedule on both sides; the first step at which they disagree. */
export const runSchedule = async (
  driver: Driver,
  schedule: Schedule,
  counts?: Counts,
): Promise<Disagreement | undefined> => {
  const { stores, steps } = schedule;
  const answer = driver.call({ store: { stores, steps } }).catch((error: unknown) => error);
  const tinybase = runStores(schedule, counts);
  const rust = await answer;
  if (rust instanceof DriverError) {
    return { step: steps.length - 1, what: 'the driver failed', tinybase: null, rust: rust.message };
  }
  if (rust instanceof Error) throw rust;
  return firstDifference(tinybase, rust as Outcome[]);
};

const firstDifference = (tinybase: Outcome[], rust: Outcome[]): Disagreement | undefined => {
  for (const [step, outcome] of tinybase.entries()) {
    const other = rust[step] ?? [];
    for (const [part, value] of outcome.entries()) {
      if (!same(value, other[part])) {
        return { step, what: `part ${part} of the outcome`, tinybase: value, rust: other[part] };
      }
    }
  }
  return undefined;
};

const same = (one: unknown, two: unknown): boolean =>
  one === two || JSON.stringify(one) === JSON.stringify(two) || isDeepStrictEqual(one, two);
