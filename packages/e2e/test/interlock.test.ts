import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { createClient } from "@libsql/client";
import { WAIVED } from "../src/harness/config.js";
import type { ResourceStage } from "../src/harness/crossfade.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, step, withWorld, type World } from "../src/harness/world.js";

/** So wide a budget that some twenty comparisons tell. */
const INTERLOCKS = "[interlocks]\nmax_mismatch_rate = 0.2";

test("a stage is reached step by step, as its conditions are met, and held while they are not", { timeout: 240_000 }, async (t) => {
  await withWorld({ config: (toml) => toml.replace(WAIVED, INTERLOCKS) }, async (world) => {
    await step(t, "live is asked for at once: dualwrite holds until the backfill is finished and both sides agree", () => heldAtDualwrite(world));
    await step(t, "shadow holds while too little was compared, and what it needs is told", () => heldAtShadow(world));
    await step(t, "a row that legacy alone knows makes the gate fail, and it stays failed", () => gateFails(world));
    await step(t, "what was counted outlives kill -9", () => outlivesKill(world));
    await step(t, "a step back, a repair, and forward again: the gate begins anew, and passes", () => passes(world));
  });
});

async function users(world: World): Promise<ResourceStage> {
  const [stage] = await world.crossfade.stages();
  assert.ok(stage);
  return stage;
}

async function heldAtDualwrite(world: World): Promise<void> {
  await world.flags.set({ stage: "live", cohortPercent: 100 });
  await world.crossfade.untilIn("dualwrite");
  const stage = await users(world);
  assert.deepEqual([stage.requested, stage.because.reason], ["live", "held"]);
  assert.equal(stage.next?.to, "shadow");
  assert.deepEqual(stage.next?.conditions.map(({ condition, met }) => [condition, met]), [
    ["backfill", false],
    ["reconcile", false],
  ]);
  await world.crossfade.run("backfill", "--format", "json");
  const [shadow] = (await users(world)).next?.conditions.filter(({ condition }) => condition === "reconcile") ?? [];
  assert.match(shadow?.figure ?? "", /not run/);
  assert.equal((await users(world)).effective, "dualwrite", "copied, and not yet compared");
}

async function heldAtShadow(world: World): Promise<void> {
  await world.crossfade.run("reconcile");
  await world.crossfade.untilIn("shadow");
  // A comparison that is made before counts for the stage before.
  await waitFor("the gate to count for this stage", async () => (await users(world)).gate.tally.since_ms > 0);
  const rest = world.restClient(ADA);
  assert.equal((await rest.get("u1")).origin, "legacy");
  await waitFor("the read to be compared", async () => (await users(world)).gate.tally.compared === 1);
  const { gate, effective } = await users(world);
  assert.deepEqual([effective, gate.verdict, gate.tally.disagreed], ["shadow", "insufficient", 0]);
  assert.ok(gate.needed !== null && gate.needed > 5 && gate.needed < 100, String(gate.needed));
  assert.match(await world.crossfade.run("stage"), new RegExp(`to live: mismatch-gate +not met +0 of 1 .* ${gate.needed} more`));
}

async function gateFails(world: World): Promise<void> {
  const body = JSON.stringify({ name: "Changed past crossfade" });
  const changed = await world.legacy.fetch(ADA, "/users/u1", { method: "PATCH", body });
  assert.equal(changed.status, 200);
  const rest = world.restClient(ADA);
  for (let i = 0; i < 12; i += 1) await rest.get("u1");
  let last: unknown;
  const fails = async () => {
    const { gate } = await users(world);
    last = gate;
    return gate.verdict === "fail";
  };
  await waitFor("the gate to fail", fails, () => last);
  // Nothing but agreement from now on does not make it good.
  for (let i = 0; i < 40; i += 1) await rest.get("u2");
  const stage = await users(world);
  assert.deepEqual([stage.effective, stage.because.reason, stage.gate.verdict], ["shadow", "held", "fail"]);
}

async function outlivesKill(world: World): Promise<void> {
  const { disagreed } = (await users(world)).gate.tally;
  assert.ok(disagreed >= 5, String(disagreed));
  // What was counted is kept every two seconds.
  await waitFor("the tally to be kept", async () => (await keptDisagreements(world)) >= disagreed);
  await world.crossfade.kill();
  await world.crossfade.restart();
  const stage = await users(world);
  assert.equal(stage.effective, "shadow");
  assert.ok(stage.gate.tally.disagreed >= disagreed);
}

async function keptDisagreements(world: World): Promise<number> {
  const client = createClient({ url: `file:${join(world.directory, "crossfade.db.control")}` });
  try {
    const { rows } = await client.execute("SELECT value FROM crossfade_control WHERE key = 'tally.users'");
    const kept = JSON.parse(String(rows[0]?.value)) as { readonly disagreed: number };
    return kept.disagreed;
  } finally {
    client.close();
  }
}

async function passes(world: World): Promise<void> {
  await world.crossfade.moveTo("dualwrite");
  await world.crossfade.run("backfill", "--format", "json");
  await world.flags.set({ stage: "live" });
  await world.crossfade.untilIn("shadow");
  const rest = world.restClient(ADA);
  await waitFor("the gate to pass, read by read", async () => {
    await rest.get("u1");
    return (await users(world)).effective === "live";
  });
  await waitFor("the store to answer", async () => (await rest.get("u1")).origin === "sync");
  assert.equal((await rest.get("u1")).body.name, "Changed past crossfade");
  const stage = await users(world);
  assert.deepEqual([stage.because.reason, stage.next?.to], ["flags", "rampdown"]);
}
