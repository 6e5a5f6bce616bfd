/** Schedules of every kind, behind one face. */

import { isDeepStrictEqual } from 'node:util';

import type { Counts } from './counts.js';
import { type Driver, DriverError } from './driver.js';
import { makeNetSchedule } from './net/generate.js';
import { runNet } from './net/run.js';
import type { NetSchedule } from './net/schedule.js';
import { makeStoreSchedule } from './store/generate.js';
import { runStores } from './store/run.js';
import type { Outcome, StoreSchedule } from './store/schedule.js';

export type Schedule = StoreSchedule | NetSchedule;
export type Kind = Schedule['kind'];

/** Where TinyBase and this project part. */
export interface Disagreement {
  step: number;
  what: string;
  tinybase: unknown;
  rust: unknown;
}

export const makeSchedule = (kind: Kind, seed: number): Schedule =>
  kind === 'store' ? makeStoreSchedule(seed) : makeNetSchedule(seed);

/** Runs a schedule on both sides; the first step at which they disagree. */
export const runSchedule = async (
  driver: Driver,
  schedule: Schedule,
  counts?: Counts,
): Promise<Disagreement | undefined> => {
  try {
    return await (schedule.kind === 'store' ? compareStores : runNet)(driver, schedule as never, counts);
  } catch (error) {
    if (!(error instanceof DriverError)) throw error;
    return { step: schedule.steps.length - 1, what: DRIVER_FAILED, tinybase: null, rust: error.message };
  }
};

export const DRIVER_FAILED = 'the driver failed';

const compareStores = async (
  driver: Driver,
  schedule: StoreSchedule,
  counts?: Counts,
): Promise<Disagreement | undefined> => {
  const { stores, steps } = schedule;
  const rust = driver.call({ store: { stores, steps } });
  rust.catch(() => undefined);
  return firstDifference(runStores(schedule, counts), (await rust) as Outcome[]);
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
