/** All regressions, then a fixed number of new schedules; `npm run interop` runs more. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { runCampaign } from '../src/campaign.js';

const SCHEDULES = 1_000;

test('tinybase and this project do the same with the same schedules', async (context) => {
  const seed = Number(process.env['CROSSFADE_INTEROP_SEED'] ?? 1);
  const { failures, lines } = await runCampaign({ schedules: SCHEDULES, seed });
  for (const line of lines) context.diagnostic(line);
  assert.deepEqual(failures, []);
});
