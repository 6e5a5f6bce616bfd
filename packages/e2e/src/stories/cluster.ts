import assert from "node:assert/strict";
import type { Crossfade } from "../harness/crossfade.js";
import { EditStream } from "../harness/edit-stream.js";
import { equal } from "../harness/equal.js";
import { waitFor } from "../harness/wait.js";
import { ADA, BOB, type World } from "../harness/world.js";

/** How long a request that crossfade lost sight of may still change legacy. */
export const RESPONSE_TIMEOUT_MS = 3_000;

/** Two processes on one database: each of them holds it at some time. */
export interface Cast {
  readonly world: World;
  readonly first: Crossfade;
  readonly second: Crossfade;
}

export async function follows({ first, second }: Cast): Promise<void> {
  assert.equal((await first.ready()).role, "holder");
  await waitFor("the follower to find the holder", async () => {
    const { role, holder } = await second.ready();
    return role === "follower" && holder === first.url;
  });
  const { code, stderr } = await second.tryRun("backfill");
  assert.notEqual(code, 0);
  assert.match(stderr, new RegExp(`follows another one.*${first.url}`));
}

export async function throughAFollower({ world, first, second }: Cast): Promise<void> {
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

export async function rolledBack({ world, first, second }: Cast): Promise<void> {
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

export async function stopped({ world, first, second }: Cast): Promise<void> {
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

export async function killed({ world, first, second }: Cast): Promise<void> {
  const client = await world.syncClient(BOB, {}, () => second);
  const stream = new EditStream(client, "k", BOB.orgId, ["u3"]);
  world.onEnd(() => stream.stop());
  stream.start();
  const rest = world.restClient(ADA, second);
  let acknowledged = 0;
  let writing = true;
  const writer = (async () => {
    for (let n = 1; writing; n += 1) {
      const done = await rest.update("u4", { name: `w ${n}` }).then(
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
  const name = (await world.legacy.row(ADA, "u4"))?.name ?? "";
  assert.ok(Number(name.replace(/^w /, "")) >= acknowledged, `${name} is older than ${acknowledged}`);
  await waitFor("the client to have what legacy has", async () => equal(client.users(), await world.legacy.rows(ADA)));
  for (const [row, number] of stream.written) {
    assert.equal((await world.legacy.row(ADA, row))?.name, `k ${number}`);
  }
  await waitFor("the store to answer again", async () => (await rest.list()).origin === "sync");
}

export async function comesBack({ world, first, second }: Cast): Promise<void> {
  await first.restart();
  await waitFor("it to follow the other one", async () => {
    const { role, holder } = await first.ready();
    return role === "follower" && holder === second.url;
  });
  await untilBothAnswerFromTheStore({ world, first, second });
}

export async function handsOver({ world, first, second }: Cast): Promise<void> {
  const client = await world.syncClient(BOB, {}, () => first);
  await second.stop();
  await waitFor("the first one to hold it again", async () => (await first.ready()).role === "holder");
  const rest = world.restClient(ADA, first);
  await rest.update("u1", { name: "Ada, at the end" });
  await client.untilConnected();
  await waitFor("the client to have it", () => client.user("u1")?.name === "Ada, at the end");
  await world.untilSettled([client]);
}

export async function untilBothAnswerFromTheStore({ world, first, second }: Cast): Promise<void> {
  for (const one of [first, second]) {
    const rest = world.restClient(ADA, one);
    await waitFor("the store to answer", async () => (await rest.list()).origin === "sync");
  }
}

/** The one that has the database is stopped for so long that the other one takes it, and goes on then. */
export async function fenced({ world, first, second }: Cast): Promise<void> {
  const client = await world.syncClient(BOB, {}, () => second);
  const stream = new EditStream(client, "f", BOB.orgId, ["u3"]);
  world.onEnd(() => stream.stop());
  stream.start();
  await waitFor("edits to be under way", () => stream.count > 20);
  first.pause();
  try {
    await waitFor("the other one to take the database", async () => (await second.ready()).role === "holder");
    await client.untilConnected();
    const before = stream.count;
    await waitFor("edits to go on", () => stream.count > before + 20);
  } finally {
    first.resume();
  }
  await waitFor("the first one to follow", async () => {
    const { role, holder } = await first.ready();
    return role === "follower" && holder === second.url;
  });
  await stream.stop();
  await client.untilConnected();
  await waitFor("nothing to be owed", async () => (await second.outbox()).pending === 0);
  await waitFor("the client to have what legacy has", async () => equal(client.users(), await world.legacy.rows(ADA)));
  for (const [row, number] of stream.written) {
    assert.equal((await world.legacy.row(ADA, row))?.name, `f ${number}`);
  }
  await untilBothAnswerFromTheStore({ world, first, second });
}
