/** Many schedules, one after the other. */

import { Counts } from './counts.js';
import { Driver } from './driver.js';
import { toText } from './json.js';
import { makeSchedule, runSchedule } from './schedule.js';
import { shrink } from './shrink.js';

export const runMany = async (o: { schedules: number; seed: number }): Promise<{ text: string; failed: boolean }> => {
  const counts = new Counts();
  let driver = new Driver();
  const t = Date.now();
  for (let i = 0; i < o.schedules; i++) {
    const schedule = makeSchedule('store', o.seed + i);
    const d = await runSchedule(driver, schedule, counts);
    if (!driver.alive) driver = new Driver();
    if (d) {
      const small = await shrink(schedule, async (s) => {
        try { const x = await runSchedule(driver, s);
    if (!driver.alive) driver = new Driver();
        return x !== undefined && x.what !== 'the driver failed'; } catch { return false; }
      });
      console.log(toText(small));
      const e = await runSchedule(driver, small);
      console.log(o.seed + i, toText(e), toText(small.steps[e!.step]));
      await driver.close();
      return { text: 'failed', failed: true };
    }
  }
  await driver.close();
  return { text: [`${(Date.now() - t) / 1000}`, ...counts.lines('')].join('\n'), failed: false };
};
