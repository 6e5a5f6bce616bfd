import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { WAIVED } from "../src/harness/config.js";
import type { ResourceStage } from "../src/harness/crossfade.js";
import { syncToken } from "../src/harness/sync-session.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

/** A gate that only a row which legacy hides can fail within this test. */
const INTERLOCKS = '[interlocks]\nmax_mismatch_rate = 0.2\nwaive = ["reconcile"]';

const config = (toml: string) => toml.replace(WAIVED, INTERLOCKS).replace("parity_sample = 0", "parity_sample = 1");

test("what sync shows a user is held against what legacy shows them, and one row too many holds the stage", { timeout: 240_000 }, async (t) => {
  await withWorld({ config }, async (world) => {
    await world.fillStore();
    await world.crossfade.moveTo("shadow");
    await waitFor("the gate to count for this stage", async () => (await users(world)).gate.tally.since_ms > 0);
    await step(t, "everybody sees the same rows on both sides, whichever way they show their session", () => sees(world));
    await step(t, "rows that a client has just made are on their way, and no finding", () => onTheirWay(world));
    await step(t, "legacy hides a row from one user: it is an overshare, for that user", () => hidden(world));
    await step(t, "the gate has failed, and `crossfade stage` says so", () => held(world));
    await step(t, "the report has it as a route of its own, and neither it nor a log says which row", () => reported(world));
  });
});

async function users(world: World): Promise<ResourceStage> {
  const [stage] = await world.crossfade.stages();
  assert.ok(stage);
  return stage;
}

/** How many checks came to each verdict. */
async function checks(world: World): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const verdict of ["match", "lag", "overshare", "undershare", "incomparable_token"]) {
    counts[verdict] = await world.crossfade.counter(`crossfade_parity_total{resource="users",verdict="${verdict}"}`);
  }
  return counts;
}

async function until(world: World, verdict: string, count: number): Promise<void> {
  let last: unknown;
  const reached = async () => {
    const now = await checks(world);
    last = now;
    return (now[verdict] ?? 0) >= count;
  };
  await waitFor(`${count} checks to say ${verdict}`, reached, () => last);
}

async function sees(world: World): Promise<void> {
  await syncToken(world.crossfade.url, world.issuer, ADA);
  await until(world, "match", 1);
  const cookie = `__session=${await world.issuer.session(BOB)}; theme=dark`;
  const response = await fetch(`${world.crossfade.url}/_crossfade/sync-token`, { method: "POST", headers: { cookie } });
  assert.equal(response.status, 200);
  await until(world, "match", 2);
  assert.ok(((await world.legacy.requestsByPurpose()).parity ?? 0) >= 2, "it says why it asks");
  const { tally } = (await users(world)).gate;
  assert.equal(tally.compared, 0, "to show the same rows promotes nothing");
  assert.equal((await world.crossfade.comparisons()).verdicts.match, 2);
}

async function onTheirWay(world: World): Promise<void> {
  const client = await world.syncClient(BOB);
  await world.legacy.setFaults({ delayMs: 300 });
  client.setUser("s1", { id: "s1", orgId: "org_1", email: "s1@example.test", name: "Made offline", role: "member", active: true });
  const before = await checks(world);
  await syncToken(world.crossfade.url, world.issuer, ADA);
  await waitFor("the check to end", async () => {
    const now = await checks(world);
    return Object.keys(now).some((verdict) => (now[verdict] ?? 0) > (before[verdict] ?? 0));
  });
  await world.legacy.setFaults({});
  await world.untilSettled([client]);
  const { overshare, undershare } = await checks(world);
  assert.deepEqual([overshare, undershare], [0, 0]);
}

async function hidden(world: World): Promise<void> {
  await world.legacy.setFaults({ hideRows: { from: BOB.userId, ids: ["u2"] } });
  await syncToken(world.crossfade.url, world.issuer, BOB);
  await until(world, "overshare", 1);
  const before = (await checks(world)).match ?? 0;
  await syncToken(world.crossfade.url, world.issuer, ADA);
  await until(world, "match", before + 1);
  assert.equal((await checks(world)).overshare, 1, "for Ada it is there");
  assert.equal(await world.crossfade.counter('crossfade_parity_rows_total{resource="users",shown_by="sync"}'), 1);
}

async function held(world: World): Promise<void> {
  await world.flags.set({ stage: "live" });
  await waitFor("live to be asked for", async () => (await users(world)).requested === "live");
  const { effective, because, gate } = await users(world);
  assert.deepEqual([effective, because.reason, gate.verdict], ["shadow", "held", "fail"]);
  assert.match(await world.crossfade.run("stage"), /to live: mismatch-gate +not met .*1 of them show what legacy hides.*failed/);
}

async function reported(world: World): Promise<void> {
  const { verdicts, signatures } = await world.crossfade.comparisons();
  assert.equal(verdicts.overshare, 1);
  const [signature] = signatures.filter(({ route }) => route === "parity GET /users");
  assert.deepEqual([signature?.count, signature?.paths], [1, ["/*"]]);
  const out = `${world.directory}/reports`;
  const made = JSON.parse(await world.crossfade.run("report", "--out", out, "--run", "parity", "--format", "json")) as {
    readonly finding: string;
    readonly json: string;
  };
  assert.equal(made.finding, "overshare");
  const report = await readFile(made.json, "utf8");
  assert.match(report, /parity GET \/users/);
  for (const text of [report, JSON.stringify(signatures)]) assert.ok(!/"u2"/.test(text), "ids are redacted");
  const told = world.crossfade.events().filter(({ message }) => message?.includes("one side alone shows rows"));
  assert.equal(told.length, 1);
  assert.ok(!JSON.stringify(told).includes("u2"));
}
