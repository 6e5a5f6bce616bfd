import assert from "node:assert/strict";
import { test } from "node:test";
import { Relay } from "../src/harness/relay.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

test("what is owed outlives a restart while legacy is down, and arrives in order per row", { timeout: 240_000 }, async (t) => {
  let relay: Relay | undefined;
  const between = async (target: () => string) => (relay = await Relay.start(target));
  await withWorld({ relay: between }, async (world) => {
    await world.fillStore();
    const ada = await world.syncClient(ADA);
    const bob = await world.syncClient(BOB);
    await world.untilSettled([ada, bob]);
    const delivered = () => relay?.delivered() ?? [];
    assert.deepEqual(delivered(), []);

    await step(t, "legacy is down: edits reach the other client and are owed", () => editsAreOwed(world, ada, bob));
    await step(t, "kill -9 and a restart keep what is owed, in its order", () => restartKeepsThem(world));
    await step(t, "after it more is owed, behind what was there", () => moreIsOwed(world, ada));
    await step(t, "legacy comes back: each write arrives once, in the order of its row", async () => {
      await world.legacy.restart();
      await world.untilSettled([ada, bob]);
      const of = (row: string) => delivered().filter(({ path }) => path === `/users/${row}`);
      assert.deepEqual(of("u1").map(({ method, body }) => [method, body]), [
        ["PATCH", { age: 37 }],
        ["PATCH", { role: "viewer" }],
        ["PATCH", { name: "Ada, third" }],
        ["PATCH", { active: false }],
      ]);
      assert.deepEqual(of("u2").map(({ method }) => method), ["DELETE"]);
      const creates = delivered().filter(({ method }) => method === "POST");
      assert.deepEqual(creates.map(({ path, body }) => [path, (body as { id: string; name: string }).id]), [["/users", "n1"]]);
      assert.deepEqual(of("n1"), [], "what was changed since went with the create");
      assert.equal(delivered().length, 6);
    });
    await step(t, "legacy has what the clients have", async () => {
      const rows = await world.legacy.rows(ADA);
      const { name, age, role, active, version } = rows.u1 ?? {};
      assert.deepEqual({ name, age, role, active, version }, { name: "Ada, third", age: 37, role: "viewer", active: false, version: 5 });
      assert.equal(rows.n1?.name, "New, renamed");
      assert.equal(rows.u2, undefined);
      await world.untilSettled([ada, bob]);
    });
  });
});

async function editsAreOwed(world: World, ada: SyncClient, bob: SyncClient): Promise<void> {
  await world.legacy.kill();
  ada.edit("u1", "age", 37);
  ada.edit("u1", "role", "viewer");
  ada.edit("u1", "name", "Ada, third");
  ada.setUser("n1", { id: "n1", orgId: ADA.orgId, email: "n1@example.test", name: "New", role: "member", age: null, active: true });
  ada.edit("n1", "name", "New, renamed");
  ada.edit("u2", "name", "Deleted in a moment");
  ada.deleteUser("u2");
  await waitFor("the edits to reach the other client", () => {
    return bob.user("u1")?.name === "Ada, third" && bob.user("n1")?.name === "New, renamed" && bob.user("u2") === undefined;
  });
  await waitFor("a delivery to have failed", async () => {
    return (await world.crossfade.outbox()).entries.some(({ attempts, last_error }) => attempts > 1 && last_error !== null);
  });
}

async function restartKeepsThem(world: World): Promise<void> {
  const { crossfade } = world;
  const rows = async () => (await crossfade.outbox()).entries.map(({ seq, row, state }) => ({ seq, row, state }));
  const before = await rows();
  assert.deepEqual(before.filter(({ row }) => row === "u1").length, 3);
  assert.ok(before.every(({ state }) => state === "pending"));
  await crossfade.kill();
  await crossfade.restart();
  assert.deepEqual(await rows(), before);
}

async function moreIsOwed(world: World, ada: SyncClient): Promise<void> {
  await ada.untilConnected();
  const before = (await world.crossfade.outbox()).pending;
  ada.edit("u1", "active", false);
  await waitFor("the edit to be owed", async () => (await world.crossfade.outbox()).pending === before + 1);
  const { entries } = await world.crossfade.outbox();
  const ofRow = entries.filter(({ row }) => row === "u1").map(({ seq }) => seq);
  assert.deepEqual(ofRow, [...ofRow].sort((a, b) => a - b));
}
