import assert from "node:assert/strict";
import { test } from "node:test";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, EVE, step, withWorld, type World } from "../src/harness/world.js";

const FOLLOWED = (toml: string) => `${toml}\n[resource.tail]\nby = "updatedAt"\npoll_ms = 100\nsweep_s = 1\n`;

interface TailState {
  readonly running: boolean;
  readonly error: string | null;
  readonly progress: {
    readonly by: string | null;
    readonly waits_for: string | null;
    readonly watermark: string | null;
    readonly polls: number;
    readonly sweeps: number;
    readonly made: number;
    readonly changed: number;
    readonly gone: number;
  };
}

test("what is done past crossfade comes to sync clients", { timeout: 240_000 }, async (t) => {
  await withWorld({ config: FOLLOWED }, async (world) => {
    await world.fillStore();
    const ada = await world.syncClient(ADA);
    await world.untilSettled([ada]);
    await step(t, "a row that is changed, one that is made, one that is deleted", () => pastCrossfade(world, ada));
    await step(t, "edits of clients go on beside it, and nothing goes round in circles", () => beside(world, ada));
    await step(t, "what was done while no crossfade ran is found after the start", () => whileDown(world, ada));
    await step(t, "a look can be ordered, and tells what is known", () => ordered(world));
    await step(t, "while legacy is away nothing is taken out, and it goes on afterwards", () => away(world, ada));
    await step(t, "in a rollback nobody looks, and after it everything is found", () => rolledBack(world, ada));
  });
});

async function pastCrossfade(world: World, ada: SyncClient): Promise<void> {
  await past(world, "PATCH", "/users/u1", { name: "Changed past crossfade" });
  await world.legacy.create(ADA, { id: "u7", email: "u7@example.test", name: "Made past crossfade" });
  await past(world, "DELETE", "/users/u2");
  await waitFor("the client to have all three", () => {
    return ada.user("u1")?.name === "Changed past crossfade" && ada.user("u7") !== undefined && ada.user("u2") === undefined;
  });
  await world.untilSettled([ada]);
  const { progress } = await state(world);
  assert.equal(progress.by, "updatedAt");
  assert.deepEqual([progress.made, progress.changed, progress.gone], [1, 1, 1]);
  const { tail } = await world.legacy.requestsByPurpose();
  assert.ok((tail ?? 0) > 0, "its requests say what they are for");
}

async function beside(world: World, ada: SyncClient): Promise<void> {
  const eve = await world.syncClient(EVE);
  for (let n = 1; n <= 5; n += 1) {
    ada.edit("u3", "age", n);
    await past(world, "PATCH", "/users/u3", { name: `Cleo ${n}` });
  }
  await waitFor("both to be everywhere", async () => {
    const row = await world.legacy.row(ADA, "u3");
    return row?.age === 5 && ada.user("u3")?.name === "Cleo 5" && ada.user("u3")?.age === 5;
  });
  await world.untilSettled([ada]);
  await world.untilSettled([eve], EVE);
  const version = (await world.legacy.row(ADA, "u3"))?.version;
  const { polls, sweeps } = (await state(world)).progress;
  await waitFor("some more looks", async () => {
    const { progress } = await state(world);
    return progress.polls > polls + 2 && progress.sweeps > sweeps;
  });
  assert.equal((await world.legacy.row(ADA, "u3"))?.version, version, "nothing is owed back");
  await eve.disconnect();
}

async function whileDown(world: World, ada: SyncClient): Promise<void> {
  await world.crossfade.kill();
  await past(world, "PATCH", "/users/u1", { name: "Changed while it was down" });
  await past(world, "DELETE", "/users/u7");
  await world.legacy.create(ADA, { id: "u8", email: "u8@example.test", name: "Made while it was down" });
  await world.crossfade.restart();
  await waitFor("the client to be back", () => ada.connected);
  await world.untilSettled([ada]);
  assert.equal(ada.user("u8")?.name, "Made while it was down");
}

async function ordered(world: World): Promise<void> {
  const shown = await world.crossfade.run("tail", "--once");
  assert.match(shown, /^users: followed by updatedAt up to 20\d\d-.*, last looked [\d.]+ s ago$/m);
  assert.match(shown, /^users: whole list last read [\d.]+ s ago$/m);
  const { code, stderr } = await world.crossfade.tryRun("tail", "--once", "--resource", "nobody");
  assert.equal(code, 2, stderr);
}

async function away(world: World, ada: SyncClient): Promise<void> {
  await world.legacy.setFaults({ status: 503 });
  await waitFor("a look to fail", async () => /answered the list with 503/.test((await state(world)).error ?? ""));
  assert.ok(ada.user("u1") !== undefined);
  await world.legacy.setFaults({});
  await past(world, "PATCH", "/users/u1", { name: "After the outage" });
  await world.untilSettled([ada]);
  await waitFor("the error to be over", async () => (await state(world)).error === null);
}

async function rolledBack(world: World, ada: SyncClient): Promise<void> {
  await world.crossfade.run("rollback", "--reason", "a rehearsal");
  await waitFor("nobody to look", async () => (await state(world)).progress.waits_for === "stage");
  assert.equal((await world.crossfade.tryRun("tail", "--once")).code, 2, "it is told why not");
  await past(world, "DELETE", "/users/u8");
  await world.crossfade.run("rollback", "--lift", "--reason", "the rehearsal is over");
  await world.crossfade.run("backfill", "--format", "json");
  // It was drained, and stays away until it is told to come.
  await ada.connect();
  await past(world, "PATCH", "/users/u1", { name: "After the rehearsal" });
  await world.untilSettled([ada]);
  assert.equal(ada.user("u1")?.name, "After the rehearsal");
}

async function state(world: World): Promise<TailState> {
  const told = JSON.parse(await world.crossfade.run("tail", "--format", "json"));
  return (told as { resources: { users: TailState } }).resources.users;
}

/** Writes to legacy, and crossfade sees nothing of it. */
async function past(world: World, method: string, path: string, body?: unknown): Promise<void> {
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await world.legacy.fetch(ADA, path, { method, ...content });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
}
