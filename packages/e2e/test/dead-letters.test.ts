import assert from "node:assert/strict";
import { test } from "node:test";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

/** An entry is given up at the second answer of 503. */
const GIVE_UP_SOON = (toml: string) => toml.replace("[outbox]", "[outbox]\nmax_attempts = 1");

test("what legacy does not take becomes a dead letter, which people try again or discard", { timeout: 240_000 }, async (t) => {
  await withWorld({ config: GIVE_UP_SOON }, async (world) => {
    await world.fillStore();
    const ada = await world.syncClient(ADA);
    const bob = await world.syncClient(BOB);
    await world.untilSettled([ada, bob]);
    await step(t, "legacy answers 503: two edits become dead letters, and stay with the clients", () => die(world, ada, bob));
    await step(t, "kill -9 and a backfill take nothing of them away", () => stayOverRestart(world, ada));
    await step(t, "what a rollback would do and leave owed is told, and nothing is done", () => dryRun(world));
    await step(t, "tried again, the first is delivered", () => triedAgain(world));
    await step(t, "discarded, the second goes back to what legacy has, at every client", () => discarded(world, ada, bob));
    await step(t, "at the end all sides agree", () => world.untilSettled([ada, bob]));
  });
});

async function die(world: World, ada: SyncClient, bob: SyncClient): Promise<void> {
  await world.legacy.setFaults({ status: 503 });
  ada.edit("u1", "name", "Ada, owed");
  ada.edit("u2", "role", "viewer");
  await waitFor("two dead letters", async () => (await world.crossfade.outbox()).dead === 2);
  await waitFor("the edits to reach the other client", () => bob.user("u1")?.name === "Ada, owed" && bob.user("u2")?.role === "viewer");
  await world.legacy.setFaults({});
  const listed = await world.crossfade.run("outbox", "list", "--dead");
  assert.match(listed, /^0 pending, 2 dead letters/);
  assert.match(listed, /dead +org\/\S+ users u1 \[name\], \d tries: legacy answered 503/);
  assert.doesNotMatch(listed, /Ada, owed/, "no values");
}

async function stayOverRestart(world: World, ada: SyncClient): Promise<void> {
  await world.crossfade.kill();
  await world.crossfade.restart();
  await world.crossfade.run("backfill", "--format", "json");
  assert.notEqual((await world.legacy.row(ADA, "u1"))?.name, "Ada, owed");
  await waitFor("the client to be back", () => ada.connected);
  // An edit that has gone round tells that whatever the backfill did has arrived before it.
  ada.edit("u3", "age", 64);
  await waitFor("a later edit to reach legacy", async () => (await world.legacy.row(ADA, "u3"))?.age === 64);
  assert.deepEqual([ada.user("u1")?.name, ada.user("u2")?.role], ["Ada, owed", "viewer"]);
}

async function dryRun(world: World): Promise<void> {
  const told = await world.crossfade.run("rollback", "--dry-run");
  assert.match(told, /users: dualwrite → off/);
  assert.match(told, /0 pending, 2 dead letters/);
  const preview = JSON.parse(await world.crossfade.run("rollback", "--dry-run", "--format", "json"));
  assert.deepEqual(preview.resources, [{ resource: "users", now: "dualwrite", then: "off", left_out: false }]);
  assert.equal(preview.sockets.drained, preview.sockets.open);
  assert.equal((await world.crossfade.stages())[0]?.effective, "dualwrite");
}

async function triedAgain(world: World): Promise<void> {
  await world.crossfade.run("outbox", "retry", String(await deadLetterOf(world, "u1")));
  await waitFor("legacy to have it", async () => (await world.legacy.row(ADA, "u1"))?.name === "Ada, owed");
  await waitFor("one dead letter to be left", async () => {
    const { pending, dead } = await world.crossfade.outbox();
    return pending === 0 && dead === 1;
  });
  await assert.rejects(world.crossfade.run("outbox", "retry", "1000000"), /no entry 1000000 is in the outbox/);
}

async function discarded(world: World, ada: SyncClient, bob: SyncClient): Promise<void> {
  const theirs = (await world.legacy.row(ADA, "u2"))?.role;
  assert.notEqual(theirs, "viewer");
  const seq = String(await deadLetterOf(world, "u2"));
  await assert.rejects(world.crossfade.run("outbox", "discard", seq), /--reason/);
  await world.crossfade.run("outbox", "discard", seq, "--reason", "made by mistake");
  await waitFor("both clients to go back", () => ada.user("u2")?.role === theirs && bob.user("u2")?.role === theirs);
  assert.equal((await world.crossfade.outbox()).dead, 0);
}

async function deadLetterOf(world: World, row: string): Promise<number> {
  const { entries } = JSON.parse(await world.crossfade.run("outbox", "list", "--dead", "--format", "json"));
  const entry = (entries as { seq: number; row: string }[]).find((one) => one.row === row);
  assert.ok(entry, `a dead letter of ${row}`);
  return entry.seq;
}
