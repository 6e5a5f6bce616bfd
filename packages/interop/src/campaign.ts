/** Many schedules, one after the other: regressions first, then new ones by consecutive seeds. */

import { Counts } from './counts.js';
import { CONTENT, countContent } from './coverage.js';
import { Driver } from './driver.js';
import { toText } from './json.js';
import { readRegressions, type Regression, saveRegression } from './regressions.js';
import { type Disagreement, DRIVER_FAILED, type Kind, makeSchedule, runSchedule, type Schedule } from './schedule.js';
import { shrink } from './shrink.js';

export interface Options {
  schedules: number;
  /** Of the first schedule; the next ones count up, and the kind follows from the seed. */
  seed: number;
  /** Only this kind. */
  kind?: Kind;
  /** Where failing schedules are kept, once shrunk. */
  keepIn?: string;
  onProgress?: (line: string) => void;
}

export interface Report {
  /** What failed, for people; empty if all is well. */
  failures: string[];
  lines: string[];
}

/** What has to have happened, or the test has not tested it. */
const WANTED = [
  'store: changes made by hand',
  'store: clock set back',
  'store: clock set forward',
  'store: clocks skewed',
  'store: diff applied late',
  'store: diff applied twice',
  'store: plain content loaded',
  'store: pulled by hashes',
  'store: saved content loaded',
  'store: transaction rolled back',
  'store: whole content merged',
  'net: clock set anew',
  'net: clocks skewed',
  'net: cut noticed late',
  'net: edit offline',
  'net: edit online',
  'net: edit while loading',
  'net: fragment from TinyBase',
  'net: fragment to TinyBase',
  'net: frames lost by a cut',
  'net: reconnected',
  'net: server wrote',
  'net: several channels on a socket',
  'net: socket opened again',
  'net: time passed with frames under way',
  'net: transaction rolled back',
  'net: with native clients',
  ...CONTENT,
  ...['star', 'peer', 'peer without store'].flatMap((topology) =>
    ['single-store', 'multiplexed', 'mixed'].flatMap((mode) =>
      ['on', 'off'].map((fragments) => `net schedules: ${topology}, ${mode}, fragments ${fragments}`),
    ),
  ),
];

/** From so many schedules on, everything in {@link WANTED} has to have happened. */
const ENOUGH = 1_000;

const MAX_FAILURES = 5;

/** One schedule in four has a network. */
export const kindOf = (seed: number): Kind => (seed % 4 === 0 ? 'net' : 'store');

/** Replays the regressions, then runs new schedules. */
export const runCampaign = async (options: Options): Promise<Report> => {
  const runner = new Runner();
  const failures: string[] = [];
  try {
    const regressions = await readRegressions();
    for (const regression of regressions) failures.push(...(await runner.replay(regression)));
    for (let run = 0; run < options.schedules && failures.length < MAX_FAILURES; run++) {
      const seed = options.seed + run;
      const schedule = makeSchedule(options.kind ?? kindOf(seed), seed);
      const disagreement = await runner.run(schedule);
      if (disagreement) failures.push(await runner.explain(schedule, disagreement, options.keepIn));
      if ((run + 1) % 1_000 === 0) options.onProgress?.(`${run + 1} schedules, ${failures.length} failures`);
    }
    const complete = options.schedules >= ENOUGH && !options.kind && failures.length === 0;
    const missing = !complete ? [] : runner.counts.missing(WANTED);
    if (missing.length > 0) failures.push(`never happened, so nothing is known about it: ${missing.join('; ')}`);
    const last = options.seed + options.schedules - 1;
    return {
      failures,
      lines: [`seeds ${options.seed} to ${last}, ${regressions.length} regressions replayed`, ...runner.counts.lines()],
    };
  } finally {
    await runner.close();
  }
};

class Runner {
  readonly counts = new Counts();
  #driver = new Driver();

  async run(schedule: Schedule, counts: Counts = this.counts): Promise<Disagreement | undefined> {
    // A driver that has panicked is replaced.
    if (!this.#driver.alive) this.#driver = new Driver();
    counts.add(`schedules: ${schedule.kind}`);
    countContent(schedule, counts);
    return runSchedule(this.#driver, schedule, counts);
  }

  async replay({ name, schedule, expectedToFail }: Regression): Promise<string[]> {
    const disagreement = await this.run(schedule, new Counts());
    if (disagreement && !expectedToFail) return [`${name} fails again: ${toText(disagreement, 2)}`];
    if (!disagreement && expectedToFail) return [`${name} does not fail any more; take away its reason to fail`];
    return [];
  }

  /** Shrinks a failing schedule, keeps it, and says all about it. */
  async explain(schedule: Schedule, disagreement: Disagreement, keepIn: string | undefined): Promise<string> {
    const smallest = await shrink(schedule, async (smaller) => {
      const other = await this.#attempt(smaller);
      return other !== undefined && (other.what === DRIVER_FAILED) === (disagreement.what === DRIVER_FAILED);
    });
    const left = (await this.#attempt(smallest)) ?? disagreement;
    const file = keepIn === undefined ? undefined : await saveRegression(keepIn, smallest);
    return [
      `seed ${schedule.seed} (${schedule.kind}): ${left.what}, at step ${left.step}`,
      `  tinybase: ${toText(left.tinybase)}`,
      `  rust:     ${toText(left.rust)}`,
      `  smallest schedule: ${toText(smallest)}`,
      ...(file === undefined ? [] : [`  kept as ${file}`]),
      `  again: npm run interop -- --seed ${schedule.seed} --schedules 1 --kind ${schedule.kind}`,
    ].join('\n');
  }

  /** A schedule that makes no sense does not count as failing. */
  async #attempt(schedule: Schedule): Promise<Disagreement | undefined> {
    try {
      return await this.run(schedule, new Counts());
    } catch {
      return undefined;
    }
  }

  async close(): Promise<void> {
    await this.#driver.close();
  }
}
