/** Schedules that failed once, each as small as it gets. */

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { toText } from './json.js';
import type { Schedule } from './schedule.js';

export const REGRESSIONS = fileURLToPath(new URL('../regressions', import.meta.url));

export interface Regression {
  name: string;
  /** What went wrong. */
  about: string;
  /** Why it still fails; without a reason it has to pass. */
  expectedToFail?: string;
  schedule: Schedule;
}

export const readRegressions = async (): Promise<Regression[]> => {
  const names = (await readdir(REGRESSIONS)).filter((name) => name.endsWith('.json')).sort();
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(join(REGRESSIONS, name), 'utf8');
      return { ...(JSON.parse(text) as Omit<Regression, 'name'>), name };
    }),
  );
};

/** The file's name. */
export const saveRegression = async (folder: string, schedule: Schedule): Promise<string> => {
  const name = `${schedule.kind}-${schedule.seed}.json`;
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, name), `${toText({ about: 'not looked at yet', schedule }, 1)}\n`);
  return join(folder, name);
};
