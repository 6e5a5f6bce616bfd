import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { EditStream } from "../src/harness/edit-stream.js";
import { equal } from "../src/harness/equal.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

const REASON = "the users list shows wrong roles";
const DRAINED = { code: 4001, reason: "crossfade:drained" };

interface Cast {
  readonly world: World;
  /** Online when the switch is thrown, and in the midst of editing. */
  readonly online: SyncClient;
  /** Offline with edits; comes back while the rollback holds. */
  readonly away: SyncClient;
  /** The same, but it comes back after crossfade was killed and started again. */
  readonly late: SyncClient;
}

test("rolling back loses nothing, holds over a kill, and is lifted by command", { timeout: 240_000 }, async (t) => {
  // After a kill in a rollback, a store is not believed before requests of the killed process can no longer be under way.
  await withWorld({ responseTimeoutMs: 3_000 }, async (world) => {
    await world.fillStore();
    await world.flags.set({ cohortPercent: 100 });
    await world.crossfade.moveTo("live");
    const cast = {
      world,
      online: await world.syncClient(ADA),
      away: await world.syncClient(BOB),
      late: await world.syncClient(ADA),
    };
    await world.untilSettled([cast.online, cast.away, cast.late]);
    await step(t, "live: the store answers, and two clients go offline with edits", () => twoGoOffline(cast));
    await step(t, "rolled back amid a stream of edits: the socket is drained, then closed", () => rolledBack(cast));
    await step(t, "legacy answers every request, whatever the flags say", () => legacyAnswers(cast));
    await step(t, "a client that comes back with offline edits is drained the same way", () => awayIsDrained(cast));
    await step(t, "the rollback survives kill -9, and drains who comes back after it", () => survivesKill(cast));
    await step(t, "lifting is a command with a reason; nobody else ends a rollback", () => lifted(cast));
    await step(t, "what changed during the rollback is not answered from a store that lacks it", () => storeCatchesUp(cast));
    await step(t, "thrown while no crossfade runs, it holds from the next start", () => thrownWhileDown(cast));
    await step(t, "a file throws it, too, and has to be gone before it is lifted", () => thrownByFile(cast));
    await step(t, "at the end all sides agree", () => agree(cast));
  });
});

async function twoGoOffline({ world, away, late }: Cast): Promise<void> {
  await waitFor("the store to answer", async () => (await world.restClient(ADA).list()).origin === "sync");
  await away.disconnect();
  away.edit("u1", "name", "Ada, edited far away");
  away.edit("u3", "age", 31);
  away.deleteUser("u4"); // which a member may not: legacy will refuse it
  await late.disconnect();
  late.edit("u2", "role", "viewer");
  late.setUser("l1", { id: "l1", orgId: ADA.orgId, email: "l1@example.test", name: "Late", role: "member", age: 1, active: true });
}

async function rolledBack({ world, online }: Cast): Promise<void> {
  const stream = new EditStream(online, "o", ADA.orgId, ["u2"]);
  world.onEnd(() => stream.stop());
  stream.start();
  await waitFor("edits under way", () => stream.count > 20);
  const answer = JSON.parse(await world.crossfade.run("rollback", "--reason", REASON, "--actor", "operator", "--format", "json"));
  assert.equal(answer.replicated, true);
  assert.equal(answer.tripped.reason, REASON);

  await stream.stop();
  await waitFor("the server to close the socket", () => online.closes.length > 0);
  assert.deepEqual(online.closes, [DRAINED]);
  // What may have been edited after that is still with the client, and comes with it the next time.
  assert.deepEqual(await online.visit(), DRAINED);
  const [[row, number]] = [...stream.written].slice(-1) as [[string, number]];
  await waitFor("the last edit of the stream to reach legacy", async () => {
    return (await world.legacy.row(ADA, row))?.name === `o ${number}`;
  });
  await waitFor("legacy to have all that the client has", async () => {
    return (await world.crossfade.outbox()).pending === 0 && equal(namesOf(online), await legacyNames(world));
  });
}

async function legacyAnswers({ world }: Cast): Promise<void> {
  const { crossfade, legacy, flags } = world;
  const rest = world.restClient(ADA);
  await flags.set({ stage: "shadow" });
  await flags.set({ stage: "live" });
  await waitFor("the flags to be read", async () => (await crossfade.stages())[0]?.requested === "live");
  const stage = (await crossfade.stages())[0];
  assert.deepEqual([stage?.effective, stage?.because.reason], ["off", "rolled-back"]);
  const { origin, body } = await rest.list({ limit: 100 });
  assert.equal(origin, "legacy");
  assert.deepEqual(body, await (await legacy.fetch(ADA, "/users?limit=100")).json());
  const { body: created } = await rest.create({ id: "d1", email: "d1@example.test", name: "During the rollback" });
  assert.deepEqual(await legacy.row(ADA, "d1"), created);
  assert.equal((await rest.get("d1")).origin, "legacy");
}

async function awayIsDrained({ world, away, online }: Cast): Promise<void> {
  assert.deepEqual(await away.visit(), DRAINED);
  // Equal hashes: it has also got what the others did meanwhile.
  assert.equal(away.user("u2")?.name, online.user("u2")?.name);
  await waitFor("its edits to reach legacy", async () => {
    const rows = await world.legacy.rows(ADA);
    return rows.u1?.name === "Ada, edited far away" && rows.u3?.age === 31;
  });
  await waitFor("nothing to be owed", async () => (await world.crossfade.outbox()).pending === 0);
  assert.equal((await world.legacy.row(ADA, "u4"))?.name, "Zoë");
  const { origin, body } = await world.restClient(BOB).get("u1");
  assert.deepEqual([origin, body.name], ["legacy", "Ada, edited far away"]);
}

async function survivesKill({ world, late }: Cast): Promise<void> {
  const { crossfade } = world;
  await crossfade.kill();
  await crossfade.restart();
  const { resources, rollback } = await crossfade.status();
  assert.deepEqual([resources[0]?.effective, resources[0]?.because.reason], ["off", "rolled-back"]);
  assert.deepEqual([rollback["*"]?.state, rollback["*"]?.reason, rollback["*"]?.actor], ["tripped", REASON, "operator"]);
  assert.equal((await world.restClient(ADA).list()).origin, "legacy");

  assert.deepEqual(await late.visit(), DRAINED);
  await waitFor("its edits to reach legacy", async () => {
    const rows = await world.legacy.rows(ADA);
    return rows.u2?.role === "viewer" && rows.l1?.name === "Late";
  });
}

async function lifted({ world }: Cast): Promise<void> {
  const { crossfade } = world;
  const rest = world.restClient(ADA);
  // Of no interest to the store: it was deleted while the store looked away.
  await rest.create({ id: "d2", email: "d2@example.test", name: "Made and deleted" });
  await rest.delete("d2");
  await rest.update("u3", { name: "Renamed during the rollback" });
  await rest.delete("l1");
  const withoutReason = await crossfade.tryRun("rollback", "--lift");
  assert.equal(withoutReason.code, 2, withoutReason.stderr);
  assert.equal((await crossfade.stages())[0]?.effective, "off");
  await crossfade.run("rollback", "--lift", "--reason", "roles are right again");
  await crossfade.untilIn("live");
  const again = await crossfade.tryRun("rollback", "--lift", "--reason", "twice");
  assert.equal(again.code, 2, "there is nothing to lift");
}

async function storeCatchesUp({ world, online, away, late }: Cast): Promise<void> {
  const { crossfade, legacy } = world;
  const rest = world.restClient(ADA);
  const direct = async () => (await legacy.fetch(ADA, "/users?limit=100")).json();
  for (const client of [online, away, late]) await client.connect();
  const before = await rest.list({ limit: 100 });
  assert.equal(before.origin, "legacy");
  assert.deepEqual(before.body, await direct());
  assert.equal((await crossfade.stages())[0]?.caught_up, false);
  await crossfade.run("backfill", "--format", "json");
  await waitFor("the store to answer again", async () => (await rest.list({ limit: 100 })).origin === "sync");
  assert.deepEqual((await rest.list({ limit: 100 })).body, await direct());
}

async function thrownWhileDown({ world }: Cast): Promise<void> {
  const { crossfade } = world;
  await crossfade.stop();
  const { code, stderr } = await crossfade.tryRun("rollback", "--reason", "the machine burns", "--actor", "operator");
  assert.equal(code, 0, stderr);
  await crossfade.restart();
  const { resources, rollback } = await crossfade.status();
  assert.deepEqual([resources[0]?.effective, rollback["*"]?.reason], ["off", "the machine burns"]);
  assert.equal((await world.restClient(ADA).list()).origin, "legacy");
  await crossfade.run("rollback", "--lift", "--reason", "it does not");
  await crossfade.untilIn("live");
}

async function thrownByFile({ world }: Cast): Promise<void> {
  const file = join(world.directory, "crossfade.db.rollback");
  const before = await world.crossfade.stages();
  assert.notEqual(before[0]?.because.reason, "rolled-back");
  await writeFile(file, "");
  await waitFor("the file to be seen", async () => (await world.crossfade.stages())[0]?.because.reason === "rolled-back");
  assert.equal((await world.restClient(ADA).list()).origin, "legacy");
  const refused = await world.crossfade.tryRun("rollback", "--lift", "--reason", "too early");
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /rollback file is there/);
  await rm(file);
  await world.crossfade.run("rollback", "--lift", "--reason", "mended");
  await world.crossfade.run("backfill", "--format", "json");
  await waitFor("the store to answer again", async () => (await world.restClient(ADA).list()).origin === "sync");
}

async function agree({ world, online, away, late }: Cast): Promise<void> {
  await world.crossfade.run("backfill", "--format", "json");
  for (const client of [online, away, late]) await client.connect();
  await world.untilSettled([online, away, late]);
}

function namesOf(client: SyncClient): Record<string, unknown> {
  return Object.fromEntries(Object.entries(client.users()).map(([id, { name }]) => [id, name]));
}

async function legacyNames(world: World): Promise<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(await world.legacy.rows(ADA)).map(([id, { name }]) => [id, name]));
}
