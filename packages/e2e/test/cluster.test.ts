import assert from "node:assert/strict";
import { test } from "node:test";
import type { Crossfade } from "../src/harness/crossfade.js";
import { EditStream } from "../src/harness/edit-stream.js";
import { equal } from "../src/harness/equal.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

/** How long a request that crossfade lost sight of may still change legacy. */
const RESPONSE_TIMEOUT_MS = 3_000;

/** Two processes on one database: each of them holds it at some time. */
interface Cast {
  readonly world: World;
  readonly first: Crossfade;
  readonly second: Crossfade;
}

test("several processes on one database: one holds it, the others follow, take over, and lose nothing", { timeout: 240_000 }, async (t) => {
  await withWorld({ processes: 2, responseTimeoutMs: RESPONSE_TIMEOUT_MS }, async (world) => {
    const cast = { world, first: world.crossfade, second: world.followers[0] as Crossfade };
    await world.fillStore();
    await world.flags.set({ cohortPercent: 100 });
    await world.crossfade.moveTo("live");
    await step(t, "the second one follows the first", () => follows(cast));
    await step(t, "through a follower the store answers, writes reach both sides, and clients sync", () => throughAFollower(cast));
    await step(t, "a rollback thrown at the follower holds in both, and so does its lifting", () => rolledBack(cast));
    await step(t, "a holder that is stopped takes nobody along: legacy answers, and the store is mended", () => stopped(cast));
    await step(t, "kill -9 of the holder amid edits: the follower takes over, and every acknowledged write is there", () => killed(cast));
    await step(t, "the killed one comes back and follows", () => comesBack(cast));
    await step(t, "a holder that ends politely hands over", () => handsOver(cast));
  });
});

async function follows({ first, second }: Cast): Promise<void> {
  assert.equal((await first.ready()).role, "holder");
  await waitFor("the follower to find the holder", async () => {
    const { role, holder } = await second.ready();
    return role === "follower" && holder === first.url;
  });
  const { code, stderr } = await second.tryRun("backfill");
  assert.notEqual(code, 0);
  assert.match(stderr, new RegExp(`follows another one.*${first.url}`));
}

async function throughAFollower({ world, first, second }: Cast): Promise<void> {
  const rest = world.restClient(ADA, second);
  await waitFor("the store to answer", async () => (await rest.list()).origin === "sync");
  const client = await world.syncClient(BOB, {}, () => second);
  const other = await world.syncClient(ADA, {}, () => first);
  const { body } = await rest.create({ id: "f1", email: "f1@example.test", name: "Through the follower" });
  assert.deepEqual(await world.legacy.row(ADA, "f1"), body);
  await waitFor("both clients to have it", () => equal(client.user("f1"), body) && equal(other.user("f1"), body));
  client.edit("f1", "name", "Edited by sync");
  await waitFor("legacy to have the edit", async () => (await world.legacy.row(ADA, "f1"))?.name === "Edited by sync");
  await rest.delete("f1");
  await waitFor("it to be gone everywhere", () => client.user("f1") === undefined && other.user("f1") === undefined);
  assert.equal((await rest.list()).origin, "sync");
  await world.untilSettled([client, other]);
}

async function rolledBack({ world, first, second }: Cast): Promise<void> {
  const [one, two] = [world.restClient(ADA, first), world.restClient(ADA, second)];
  const answer = JSON.parse(await second.run("rollback", "--reason", "a try", "--actor", "operator", "--format", "json"));
  assert.equal(answer.replicated, true);
  assert.equal((await two.list()).origin, "legacy", "at once where it was thrown");
  await waitFor("the holder to follow", async () => (await one.list()).origin === "legacy");
  await two.update("u1", { name: "Ada, rolled back" });
  assert.equal((await two.get("u1")).body.name, "Ada, rolled back");
  await second.run("rollback", "--lift", "--reason", "over", "--actor", "operator");
  await first.untilIn("live");
  assert.notEqual((await one.get("u1")).origin, "sync", "the store lacks a write");
  await first.run("backfill", "--format", "json");
  await untilBothAnswerFromTheStore({ world, first, second });
  assert.equal((await two.get("u1")).body.name, "Ada, rolled back");
}

async function stopped({ world, first, second }: Cast): Promise<void> {
  const rest = world.restClient(ADA, second);
  first.pause();
  try {
    // A read that is under way goes to legacy as soon as the holder is known not to answer.
    await waitFor("legacy to answer", async () => (await rest.get("u1")).origin === "legacy");
    assert.equal((await rest.update("u2", { name: "bob, while it was stopped" })).origin, "legacy");
    assert.equal((await rest.get("u2")).body.name, "bob, while it was stopped");
  } finally {
    first.resume();
  }
  const [users] = await first.stages();
  assert.ok(users);
  const own = world.restClient(ADA, first);
  // It answers at once, and never what it missed.
  assert.equal((await own.get("u2")).body.name, "bob, while it was stopped");
  await untilBothAnswerFromTheStore({ world, first, second });
  assert.equal((await rest.get("u2")).body.name, "bob, while it was stopped");
  const client = await world.syncClient(BOB, {}, () => second);
  await world.untilSettled([client]);
}

async function killed({ world, first, second }: Cast): Promise<void> {
  const client = await world.syncClient(BOB, {}, () => second);
  const stream = new EditStream(client, "k", BOB.orgId, ["u3"]);
  world.onEnd(() => stream.stop());
  stream.start();
  const rest = world.restClient(ADA, second);
  let acknowledged = 0;
  let writing = true;
  const writer = (async () => {
    for (let n = 1; writing; n += 1) {
      const done = await rest.update("u4", { age: n }).then(
        () => true,
        () => false, // what was under way at the holder when it died is not known to be done
      );
      if (done) acknowledged = n;
    }
  })();
  await waitFor("both to be under way", () => stream.count > 50 && acknowledged > 5);
  await first.kill();
  await waitFor("the follower to take over", async () => (await second.ready()).role === "holder");
  const then = acknowledged;
  await waitFor("writes to go on", () => acknowledged > then + 5);
  writing = false;
  await writer;
  await stream.stop();
  await client.untilConnected();
  await waitFor("nothing to be owed", async () => (await second.outbox()).pending === 0);
  assert.ok(((await world.legacy.row(ADA, "u4"))?.age ?? 0) >= acknowledged);
  await waitFor("the client to have what legacy has", async () => equal(client.users(), await world.legacy.rows(ADA)));
  for (const [row, number] of stream.written) {
    assert.equal((await world.legacy.row(ADA, row))?.name, `k ${number}`);
  }
  await waitFor("the store to answer again", async () => (await rest.list()).origin === "sync");
}

async function comesBack({ world, first, second }: Cast): Promise<void> {
  await first.restart();
  await waitFor("it to follow the other one", async () => {
    const { role, holder } = await first.ready();
    return role === "follower" && holder === second.url;
  });
  await untilBothAnswerFromTheStore({ world, first, second });
}

async function handsOver({ world, first, second }: Cast): Promise<void> {
  const client = await world.syncClient(BOB, {}, () => first);
  await second.stop();
  await waitFor("the first one to hold it again", async () => (await first.ready()).role === "holder");
  const rest = world.restClient(ADA, first);
  await rest.update("u1", { name: "Ada, at the end" });
  await client.untilConnected();
  await waitFor("the client to have it", () => client.user("u1")?.name === "Ada, at the end");
  await world.untilSettled([client]);
}

async function untilBothAnswerFromTheStore({ world, first, second }: Cast): Promise<void> {
  for (const one of [first, second]) {
    const rest = world.restClient(ADA, one);
    await waitFor("the store to answer", async () => (await rest.list()).origin === "sync");
  }
}
