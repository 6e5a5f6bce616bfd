/** `npm run interop -- --schedules 10000 --seed 1 [--kind store|net]` */

import { parseArgs } from 'node:util';

import { runCampaign } from './campaign.js';
import { REGRESSIONS } from './regressions.js';
import type { Kind } from './schedule.js';

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    kind: { type: 'string' },
  },
});

const number = (name: 'schedules' | 'seed'): number => {
  const value = Number(values[name]);
  if (!Number.isSafeInteger(value) || value < 0) usage(`--${name} takes a whole number, not ${values[name]}`);
  return value;
};

const usage = (complaint: string): never => {
  console.error(`${complaint}\nusage: npm run interop -- [--schedules 10000] [--seed N] [--kind store|net]`);
  process.exit(2);
};

const isKind = (kind: string | undefined): kind is Kind | undefined =>
  kind === undefined || kind === 'store' || kind === 'net';

const { kind } = values;
if (!isKind(kind)) usage(`--kind takes store or net, not ${String(kind)}`);

const seed = number('seed');
console.log(`seed ${seed}`);
const started = process.hrtime.bigint();
const { failures, lines } = await runCampaign({
  schedules: number('schedules'),
  seed,
  ...(isKind(kind) && kind !== undefined ? { kind } : {}),
  keepIn: REGRESSIONS,
  onProgress: (line) => process.stderr.isTTY && console.error(line),
});
console.log(lines.join('\n'));
console.log(`${(Number(process.hrtime.bigint() - started) / 1e9).toFixed(1)} s`);
if (failures.length > 0) {
  console.log(failures.join('\n'));
  process.exitCode = 1;
} else console.log('tinybase and this project agree on all of them');
