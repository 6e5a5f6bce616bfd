/** `npm run interop -- --schedules 10000 --seed 1` */

import { parseArgs } from 'node:util';

import { runMany } from './campaign.js';

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '10000' },
    seed: { type: 'string' },
    kind: { type: 'string' },
  },
});

const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed);
const report = await runMany({ schedules: Number(values.schedules), seed });
console.log(report.text);
process.exitCode = report.failed ? 1 : 0;
