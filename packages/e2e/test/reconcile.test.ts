import assert from "node:assert/strict";
import { test } from "node:test";
import { waitFor } from "../src/harness/wait.js";
import { ADA, EVE, step, withWorld, type World } from "../src/harness/world.js";

test("both sides are compared in full, and made equal on request", { timeout: 240_000 }, async (t) => {
  await withWorld({}, async (world) => {
    await world.fillStore();
    await step(t, "after a backfill they agree, also while clients write", () => agree(world));
    await step(t, "what was done past crossfade is listed, without a value, and the exit code says so", () => diverged(world));
    await step(t, "without legacy's list nothing is compared, and the exit code says that, too", () => noList(world));
    await step(t, "legacy's rows are taken over, and clients see them", () => repaired(world));
  });
});

async function agree(world: World): Promise<void> {
  const ada = await world.syncClient(ADA);
  let editing = true;
  const edits = (async () => {
    for (let age = 1; editing; age += 1) {
      ada.edit("u1", "age", age);
      await waitFor("an edit to reach legacy", async () => (await world.legacy.row(ADA, "u1"))?.age === age);
    }
  })();
  const told = await world.crossfade.run("reconcile");
  editing = false;
  await edits;
  assert.match(told, /^users: 5 rows in legacy, 5 in the store, in 2 path\(s\)/);
  assert.match(told, /0 missing in the store, 0 in the store alone, 0 different, 0 dead letters/);
  await ada.disconnect();
}

async function diverged(world: World): Promise<void> {
  await past(world, "PATCH", "/users/u1", { name: "Changed past crossfade" });
  await past(world, "DELETE", "/users/u2");
  await world.legacy.create(ADA, { id: "u7", email: "new@example.test", name: "New past crossfade" });
  const { code, stdout } = await world.crossfade.tryRun("reconcile");
  assert.equal(code, 1);
  assert.match(stdout, /org\/org_1 u1: different \[name, updatedAt, version\]/);
  assert.match(stdout, /org\/org_1 u2: in the store alone/);
  assert.match(stdout, /org\/org_1 u7: missing in the store/);
  assert.doesNotMatch(stdout, /past crossfade/, "no values");
  const conditions = (await world.crossfade.stages())[0]?.next?.conditions ?? [];
  const figure = conditions.find(({ condition }) => condition === "reconcile")?.figure;
  assert.match(figure ?? "", /^3 of \d rows differ/);
}

async function noList(world: World): Promise<void> {
  const eve = await world.syncClient(EVE);
  await world.legacy.setFaults({ status: 503 });
  eve.edit("x1", "name", "Eve, owed");
  await waitFor("the edit to be owed", async () => (await world.crossfade.outbox()).pending === 1);
  const unreachable = await world.crossfade.tryRun("reconcile");
  assert.equal(unreachable.code, 3, "legacy gives no list");
  await world.legacy.setFaults({});
  await world.untilSettled([eve], EVE);
  await eve.disconnect();
}

async function repaired(world: World): Promise<void> {
  const ada = await world.syncClient(ADA);
  const found = JSON.parse(await world.crossfade.run("reconcile", "--repair", "legacy", "--format", "json"));
  const { repaired: rows, differences } = found.resources.users.progress;
  assert.equal(rows, 3);
  assert.deepEqual(
    differences.map(({ row, kind, repaired }: { row: string; kind: string; repaired: boolean }) => [row, kind, repaired]),
    [
      ["u1", "different", true],
      ["u2", "extra", true],
      ["u7", "missing", true],
    ],
  );
  await world.untilSettled([ada]);
  assert.equal(ada.user("u1")?.name, "Changed past crossfade");
  const { code } = await world.crossfade.tryRun("reconcile");
  assert.equal(code, 0);
}

/** Writes to legacy, and crossfade sees nothing of it. */
async function past(world: World, method: string, path: string, body?: unknown): Promise<void> {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await world.legacy.fetch(ADA, path, { method, ...content });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
}
