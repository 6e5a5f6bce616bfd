/** Shrinking finds the part that matters. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { shrink } from '../src/shrink.js';

test('what is left is the least that still fails', async () => {
  const steps = Array.from({ length: 40 }, (_, at) => ({ ops: [['setCell', 't', 'r', `c${at}`, at]] }));
  const fails = async (schedule: { steps: { ops: unknown[][] }[] }): Promise<boolean> =>
    schedule.steps.flatMap(({ ops }) => ops).filter((op) => Number(op[4]) >= 17).length >= 2;
  const smallest = await shrink({ kind: 'store', steps }, fails);
  assert.equal(smallest.steps.length, 2);
  assert.ok(await fails(smallest));
});

test('a schedule that does not fail in part stays whole', async () => {
  const schedule = { steps: [{ ops: [] }, { ops: [] }, { ops: [] }] };
  const smallest = await shrink(schedule, async ({ steps }) => steps.length === 3);
  assert.equal(smallest.steps.length, 3);
});
