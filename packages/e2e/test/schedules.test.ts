import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { FAULTS, Schedule, type Fault } from "../src/stories/schedule.js";
import { Relay } from "../src/harness/relay.js";
import { UnleashFlags } from "../src/harness/unleash.js";
import { withWorld, type World, type WorldOptions } from "../src/harness/world.js";

/** `CROSSFADE_REAL_SCHEDULES=50 CROSSFADE_SEED=1 npm test -w @crossfade/e2e -- --test-name-pattern "random schedules"` */
const SCHEDULES = Number(process.env.CROSSFADE_REAL_SCHEDULES ?? 4);
const FIRST_SEED = Number(process.env.CROSSFADE_SEED ?? 1);
/** Schedules in one world, one after the other, on the same database. */
const IN_ONE_WORLD = 5;
/** Actions of the long one. */
const LONG_STEPS = Number(process.env.CROSSFADE_LONG_STEPS ?? 25);
/** From so many on, whatever never happened is a failure. */
const ENOUGH = 25;

test("random schedules with real processes and kill -9 lose no acknowledged write", { timeout: 1_800_000 }, async (t) => {
  const counts = new Map<Fault, number>();
  for (let from = 0; from < SCHEDULES; from += IN_ONE_WORLD) {
    await inLive({}, async (world, relay) => {
      for (let n = from; n < Math.min(from + IN_ONE_WORLD, SCHEDULES); n += 1) {
        const seed = FIRST_SEED + n;
        await new Schedule(world, seed, counts).run(`q${seed}`).catch((error: unknown) => {
          throw new Error(`seed ${seed}: ${String(error)}${storyOf(String(error), relay)}`, { cause: error });
        });
      }
    });
  }
  tell(t, counts);
  if (SCHEDULES >= ENOUGH) assert.deepEqual(FAULTS.filter((fault) => !counts.has(fault)), [], "never happened");
});

test("one long schedule on real parts: two processes, Hono, React Query, tinybase, Unleash on PostgreSQL", { timeout: 600_000 }, async (t) => {
  const counts = new Map<Fault, number>();
  await inLive({ flags: () => UnleashFlags.start() }, async (world) => {
    await new Schedule(world, FIRST_SEED, counts).run("long", LONG_STEPS);
  });
  tell(t, counts);
});

async function inLive(options: WorldOptions, body: (world: World, relay: Relay) => Promise<void>): Promise<void> {
  let relay: Relay | undefined;
  const between = async (target: () => string) => (relay = await Relay.start(target));
  await withWorld({ processes: 2, responseTimeoutMs: 1_500, relay: between, ...options }, async (world) => {
    await world.fillStore();
    await world.flags.set({ cohortPercent: 100 });
    await world.crossfade.moveTo("live");
    assert.ok(relay);
    await body(world, relay);
  });
}

/** What the API was asked of the row that an error names. */
function storyOf(error: string, relay: Relay): string {
  const row = /q\d+[a-z]-?\d+/.exec(error)?.[0];
  if (row === undefined) return "";
  const about = relay.answered.filter((one) => one.path.endsWith(`/${row}`) || JSON.stringify(one.body ?? "").includes(`"${row}"`));
  return `\n${about.map(({ at, method, path, purpose, body, status }) => `${at} ${method} ${path} ${purpose ?? ""} ${status} ${JSON.stringify(body)}`).join("\n")}`;
}

function tell(t: TestContext, counts: ReadonlyMap<Fault, number>): void {
  for (const fault of FAULTS) t.diagnostic(`${counts.get(fault) ?? 0} ${fault}`);
}
