import assert from "node:assert/strict";
import { test } from "node:test";
import { equal } from "../src/harness/equal.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, step, withWorld, type World } from "../src/harness/world.js";

/** How long legacy takes for a write: longer than a kill and a restart. */
const LEGACY_DELAY_MS = 1_500;
/** How long a request that crossfade lost sight of may still change legacy. */
const RESPONSE_TIMEOUT_MS = 4_000;

test("kill -9 while REST writes are under way leaves no store behind", { timeout: 240_000 }, async (t) => {
  await withWorld({ responseTimeoutMs: RESPONSE_TIMEOUT_MS }, async (world) => {
    await world.fillStore();
    await world.crossfade.moveTo("live");
    await step(t, "rows that are known are read again, and no backfill is needed", () => knownRows(world));
    await step(t, "a create, whose row nobody knows, has the store mended by a backfill of its own", () => unknownRow(world));
    await step(t, "a stop that is no kill leaves nothing to be read again", () => cleanStop(world));
  });
});

async function knownRows(world: World): Promise<void> {
  await killDuring(world, [
    ["PATCH", "/users/u1", { name: "Ada, under way" }],
    ["PATCH", "/users/u3", { age: 21 }],
    ["DELETE", "/users/u2"],
  ]);
  assert.equal(await world.legacy.row(ADA, "u2").then((row) => row?.id), "u2", "legacy is still at it");
  await world.crossfade.restart();
  assert.match(world.crossfade.log(), /requests were under way when it was stopped","intents":3/);
  await waitFor("legacy to have done what it was asked", async () => (await world.legacy.row(ADA, "u2")) === undefined);
  await untilStoreIsLegacys(world);
  assert.equal((await stage(world)).store, "finished");
  assert.equal((await world.legacy.row(ADA, "u1"))?.name, "Ada, under way");
  assert.doesNotMatch(world.crossfade.log(), /a backfill mends/);
}

async function unknownRow(world: World): Promise<void> {
  await killDuring(world, [["POST", "/users", { id: "u9", email: "ivy@example.test", name: "Ivy" }]]);
  await world.crossfade.restart();
  assert.ok(typeof (await stage(world)).store === "object", "it may lack a write, and is to be mended");
  await waitFor("the store to be mended", async () => (await stage(world)).store === "finished");
  await untilStoreIsLegacys(world);
  assert.equal((await world.legacy.row(ADA, "u9"))?.name, "Ivy");
}

async function cleanStop(world: World): Promise<void> {
  const response = await send(world, "PATCH", "/users/u1", { name: "Ada" });
  assert.equal(response.status, 200);
  await world.crossfade.stop();
  await world.crossfade.restart();
  const { store, writes_under_way } = await stage(world);
  assert.deepEqual({ store, writes_under_way }, { store: "finished", writes_under_way: 0 });
  await untilStoreIsLegacys(world);
}

type Write = readonly [method: string, path: string, body?: unknown];

/** Kills crossfade while legacy works on these writes; their callers have no answer. */
async function killDuring(world: World, writes: readonly Write[]): Promise<void> {
  await world.legacy.setFaults({ delayMs: LEGACY_DELAY_MS });
  const answers = writes.map((write) =>
    send(world, ...write).then(
      (response) => `${write[1]} was answered ${response.status}`,
      () => undefined,
    ),
  );
  await waitFor("the writes to be under way", async () => (await stage(world)).writes_under_way === writes.length);
  await world.crossfade.kill();
  assert.deepEqual(await Promise.all(answers), writes.map(() => undefined));
  await world.legacy.setFaults({});
}

async function send(world: World, method: string, path: string, body?: unknown): Promise<Response> {
  const headers = { authorization: `Bearer ${await world.issuer.session(ADA)}`, "content-type": "application/json" };
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  return await fetch(`${world.crossfade.url}${path}`, { method, headers, ...content });
}

async function stage(world: World) {
  const [users] = await world.crossfade.stages();
  assert.ok(users);
  return users;
}

/** Waits until a client of the store, and the store's own answers, show what legacy has. */
async function untilStoreIsLegacys(world: World): Promise<void> {
  const client = await world.syncClient(ADA);
  await waitFor("no write to be under way", async () => (await stage(world)).writes_under_way === 0);
  await world.untilSettled([client]);
  const listed = (await (await send(world, "GET", "/users?limit=100")).json()) as { data: { id: string }[] };
  assert.ok(equal(Object.fromEntries(listed.data.map((row) => [row.id, row])), await world.legacy.rows(ADA)));
  await client.disconnect();
}
