import assert from "node:assert/strict";
import { test } from "node:test";
import { WAIVED } from "../src/harness/config.js";
import type { User } from "../src/harness/legacy-api.js";
import { HttpError } from "../src/harness/rest-client.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, VIEWER, withWorld, type World } from "../src/harness/world.js";

/** What the store has to know to do what the API did. */
const TOLD: readonly (readonly [cell: string, lines: string])[] = [
  ["id", 'generated = "uuid-hex"\nprefix = "user_"'],
  ["email", 'unique = true\nunique_within = "path"'],
  ["role", 'default = "member"'],
  ["active", "default = true"],
  ["createdAt", 'generated = "created-at"'],
  ["updatedAt", 'generated = "updated-at"'],
  ["version", 'generated = "version"'],
];
const ROLES = `
[resource.write.roles]
admin = { cells = ["*"], create = true, delete = true }
member = { cells = ["name", "age"], create = true }
`;

/** A minute of a quiet outbox is the Rust tests' matter; everything else has to be met. */
function ramped(toml: string): string {
  const errors = 'error_code = "/error/code"\nerror_message = "/error/message"';
  let text = toml.replace(WAIVED, WAIVED.replace('"mismatch-gate"', '"mismatch-gate", "owed-age"'));
  text = text.replace('item = ""', `item = ""\n${errors}`);
  for (const [cell, lines] of TOLD) text = text.replace(`[resource.cells.${cell}]\n`, `[resource.cells.${cell}]\n${lines}\n`);
  return text + ROLES;
}

interface Cast {
  readonly world: World;
  readonly ada: SyncClient;
  readonly bob: SyncClient;
}

test("live, rampdown, rolled back: REST writers and sync clients, and legacy has everything", { timeout: 240_000 }, async (t) => {
  await withWorld({ responseTimeoutMs: 3_000, config: ramped }, async (world) => {
    await world.fillStore();
    await world.flags.set({ cohortPercent: 50 });
    await world.crossfade.moveTo("live");
    const cast: Cast = { world, ada: await world.syncClient(ADA), bob: await world.syncClient(BOB) };
    await world.untilSettled([cast.ada, cast.bob]);
    await step(t, "rampdown is held while the cohort is not everybody", () => heldForCohort(world));
    await step(t, "the store answers writes in the API's shape, and the API gets them", () => storeFirst(cast));
    await step(t, "what is not allowed is refused as the API refuses it", () => refused(world));
    await step(t, "what only the API knows goes to it, once", () => fallsOpen(cast));
    await step(t, "with the API down, writes go on, are read by all, and outlive kill -9", () => apiDown(cast));
    await step(t, "back, the API gets all of it", () => apiBack(cast));
    await step(t, "rolled back amid an outage: the rows behind are listed, and arrive", () => rolledBack(cast));
    await step(t, "lifted, it is in rampdown again; back in live, all sides agree", () => agree(cast));
  });
});

/** The answer that refused a request. */
async function refusal(request: Promise<unknown>): Promise<HttpError> {
  try {
    await request;
  } catch (error) {
    if (error instanceof HttpError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

function codeOf(error: HttpError): readonly [status: number, code: unknown] {
  return [error.status, (error.body as { error?: { code?: unknown } }).error?.code];
}

async function heldForCohort(world: World): Promise<void> {
  await world.flags.set({ stage: "rampdown" });
  const open = async () => {
    const [held] = await world.crossfade.stages();
    assert.equal(held?.effective, "live");
    if (held?.because.reason !== "held" || held.next?.to !== "rampdown") return undefined;
    return held.next.conditions.filter(({ met, waived }) => !met && !waived);
  };
  await waitFor("the cohort alone to hold it", async () => (await open())?.map(({ condition }) => condition).join() === "cohort");
  assert.match((await open())?.[0]?.figure ?? "", /50 %/);
  assert.match(await world.crossfade.run("stage"), /to rampdown: cohort +not met .*50 %/);
  assert.match(await world.crossfade.run("check"), /ok +rampdown of `users`: all is told/);
  await world.flags.set({ cohortPercent: 100 });
  await world.crossfade.untilIn("rampdown");
}

/** A write that the store answers; others may hold it back for a moment. */
async function byStore(write: () => Promise<{ origin: string | undefined; body: User }>): Promise<User> {
  const { origin, body } = await write();
  assert.equal(origin, "sync");
  return body;
}

async function storeFirst({ world, ada, bob }: Cast): Promise<void> {
  const rest = world.restClient(ADA);
  const response = await fetch(`${world.crossfade.url}/users`, {
    method: "POST",
    headers: { authorization: `Bearer ${await world.issuer.session(ADA)}`, "content-type": "application/json" },
    body: JSON.stringify({ email: "new@example.test", name: "New" }),
  });
  const made = (await response.json()) as User;
  assert.deepEqual([response.status, response.headers.get("crossfade-origin")], [201, "sync"]);
  assert.equal(response.headers.get("location"), `/users/${made.id}`);
  assert.match(made.id, /^user_[0-9a-f]{32}$/);
  assert.match(made.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const { createdAt, updatedAt, id, ...rest_ } = made;
  assert.equal(createdAt, updatedAt);
  assert.deepEqual(rest_, { orgId: "org_1", email: "new@example.test", name: "New", role: "member", age: null, active: true, version: 1 });
  await waitFor("the other client to see it", () => bob.user(id)?.name === "New");
  await waitFor("the API to have it", async () => (await world.legacy.row(ADA, id))?.name === "New");
  const changed = await byStore(() => rest.update(id, { age: 7 }));
  assert.deepEqual([changed.age, changed.version], [7, 2]);
  await waitFor("the API to have that", async () => (await world.legacy.row(ADA, id))?.age === 7);
  await rest.delete(id);
  await waitFor("the row to be gone everywhere", async () => ada.user(id) === undefined && (await world.legacy.row(ADA, id)) === undefined);
  ada.edit("u2", "name", "Bob, by sync");
  await waitFor("an edit of a sync client to be read by REST", async () => (await rest.get("u2")).body.name === "Bob, by sync");
  await world.untilSettled([ada, bob]);
}

async function refused(world: World): Promise<void> {
  const [admin, member, viewer] = [ADA, BOB, VIEWER].map((person) => world.restClient(person));
  assert.ok(admin && member && viewer);
  const before = await world.legacy.requestsByPurpose();
  assert.deepEqual(codeOf(await refusal(viewer.update("u1", { name: "V" }))), [403, "forbidden"]);
  assert.deepEqual(codeOf(await refusal(member.delete("u1"))), [403, "forbidden"]);
  assert.deepEqual(codeOf(await refusal(admin.create({ email: "bob@example.test", name: "Bob" }))), [409, "email_taken"]);
  assert.deepEqual(codeOf(await refusal(admin.create({ id: "u1", email: "x@example.test", name: "X" }))), [409, "id_taken"]);
  assert.deepEqual(codeOf(await refusal(admin.update("u1", { role: "boss" as "admin" }))), [422, "validation_failed"]);
  const after = await world.legacy.requestsByPurpose();
  assert.equal(after.none, before.none, "nothing of it went to the API");
}

async function fallsOpen({ world, ada, bob }: Cast): Promise<void> {
  const rest = world.restClient(ADA);
  const fallbacks = async (reason: string) =>
    await world.crossfade.counter(`crossfade_write_fallback_total{reason="${reason}"}`);
  const unknown = await refusal(rest.request("PATCH", "/users/u1", { nickname: "A" }));
  assert.deepEqual(codeOf(unknown), [422, "validation_failed"]);
  assert.equal(await fallbacks("unknown-field"), 1);
  // While the answer before is on its way into the store, that alone is the reason.
  await waitFor("a row that the store does not have to be asked of the API", async () => {
    assert.deepEqual(codeOf(await refusal(rest.update("nobody", { name: "N" }))), [404, "not_found"]);
    return (await fallbacks("no-row")) > 0;
  });
  const nobody = await fetch(`${world.crossfade.url}/users/u1`, { method: "DELETE" });
  assert.equal(nobody.status, 401);
  // A browser's page of another origin: only the API knows whether it may.
  const response = await fetch(`${world.crossfade.url}/users/u3`, {
    method: "PATCH",
    headers: {
      authorization: `Bearer ${await world.issuer.session(ADA)}`,
      "content-type": "application/json",
      "if-unmodified-since": new Date().toUTCString(),
    },
    body: JSON.stringify({ name: "Cleo, by the API" }),
  });
  assert.deepEqual([response.status, response.headers.get("crossfade-origin")], [200, "legacy"]);
  await waitFor("its mirror", () => bob.user("u3")?.name === "Cleo, by the API");
  await world.untilSettled([ada, bob]);
}

async function apiDown({ world, ada, bob }: Cast): Promise<void> {
  await world.legacy.kill();
  const rest = world.restClient(ADA);
  await byStore(() => rest.create({ id: "d1", email: "d1@example.test", name: "Down" }));
  await byStore(() => rest.update("d1", { name: "Down, changed" }));
  await byStore(() => rest.update("u1", { age: 99 }));
  await rest.delete("u4");
  bob.edit("u1", "name", "Ada, by sync");
  await waitFor("the other client to have all of it", () => {
    return ada.user("d1")?.name === "Down, changed" && ada.user("u1")?.age === 99 && ada.user("u4") === undefined && ada.user("u1")?.name === "Ada, by sync";
  });
  const list = await rest.list({ limit: 100 });
  assert.equal(list.origin, "sync");
  assert.deepEqual(list.body.data.map(({ id }) => id).sort(), ["d1", "u1", "u2", "u3"]);
  // Its deletion is not in the API yet, which must not be asked for it.
  assert.deepEqual(codeOf(await refusal(rest.update("u4", { name: "Z" }))), [404, "not_found"]);
  // What only the API can do waits for what it is owed, and is not done at all.
  const owed = await refusal(rest.request("PATCH", "/users/d1", { nickname: "D" }));
  assert.deepEqual([owed.status, owed.contentType], [503, "application/problem+json"]);
  await world.crossfade.kill();
  await world.crossfade.restart();
  await waitFor("the store to answer again", async () => (await rest.get("d1")).origin === "sync");
  const { body } = await rest.get("d1");
  assert.deepEqual([body.name, body.version], ["Down, changed", 2]);
}

async function apiBack({ world, ada, bob }: Cast): Promise<void> {
  await world.legacy.restart();
  for (const client of [ada, bob]) await client.connect();
  await world.untilSettled([ada, bob]);
  const rows = await world.legacy.rows(ADA);
  assert.deepEqual([rows.d1?.name, rows.u1?.age, rows.u1?.name, rows.u4], ["Down, changed", 99, "Ada, by sync", undefined]);
}

async function rolledBack({ world, ada, bob }: Cast): Promise<void> {
  const { crossfade, legacy } = world;
  const rest = world.restClient(ADA);
  await waitFor("the store to answer", async () => (await rest.get("u2")).origin === "sync");
  await legacy.kill();
  await byStore(() => rest.update("u2", { name: "Behind" }));
  await byStore(() => rest.create({ id: "b1", email: "b1@example.test", name: "Behind, too" }));
  const preview = JSON.parse(await crossfade.run("rollback", "--dry-run", "--format", "json"));
  const rows = (behind: { row: string }[]) => behind.map(({ row }) => row);
  assert.deepEqual([preview.resources[0].now, preview.resources[0].then], ["rampdown", "off"]);
  assert.deepEqual(rows(preview.behind), ["b1", "u2"]);
  const told = await crossfade.run("rollback", "--reason", "a drill", "--actor", "operator");
  assert.match(told, /rows that legacy does not have yet as they were acknowledged:\n +users org\/org_1 b1\n +users org\/org_1 u2/);
  await crossfade.untilIn("off");
  await legacy.restart();
  await waitFor("what was owed to arrive", async () => {
    const rows = await legacy.rows(ADA);
    return rows.u2?.name === "Behind" && rows.b1?.name === "Behind, too";
  });
  const answer = await rest.update("u3", { name: "Changed in the rollback" });
  assert.equal(answer.origin, "legacy");
  assert.equal((await rest.get("u2")).body.name, "Behind");
  await waitFor("the clients to be drained", () => ada.closes.length > 0 && bob.closes.length > 0);
}

async function agree({ world, ada, bob }: Cast): Promise<void> {
  const rest = world.restClient(ADA);
  await world.crossfade.run("rollback", "--lift", "--reason", "the drill is over");
  await world.crossfade.untilIn("rampdown");
  assert.equal((await rest.update("u3", { age: 41 })).origin, "legacy", "the store lacks what passed it by");
  await world.crossfade.run("backfill", "--format", "json");
  await waitFor("the store to answer writes again", async () => (await rest.update("u3", { age: 42 })).origin === "sync");
  await world.crossfade.moveTo("live");
  await waitFor("legacy to answer writes first", async () => (await rest.update("u1", { age: 43 })).origin === "legacy");
  for (const client of [ada, bob]) await client.connect();
  await world.untilSettled([ada, bob]);
  const rows = await world.legacy.rows(ADA);
  assert.deepEqual([rows.u3?.age, rows.u1?.age, rows.u3?.name], [42, 43, "Changed in the rollback"]);
  await world.crossfade.run("reconcile");
}

test("a write through a follower is the holder's, and outlives it", { timeout: 120_000 }, async () => {
  await withWorld({ processes: 2, responseTimeoutMs: 3_000, config: ramped }, async (world) => {
    const [follower] = world.followers;
    assert.ok(follower !== undefined);
    await world.fillStore();
    await world.flags.set({ cohortPercent: 100 });
    await world.crossfade.moveTo("live");
    await world.crossfade.moveTo("rampdown");
    const rest = world.restClient(ADA, follower);
    await waitFor("the holder to answer through the follower", async () => (await rest.update("u1", { age: 50 })).origin === "sync");
    await waitFor("the API to have it", async () => (await world.legacy.row(ADA, "u1"))?.age === 50);
    await world.legacy.kill();
    await byStore(() => rest.update("u1", { age: 51 }));
    await world.crossfade.kill();
    // With neither the holder nor the API there, nobody is told that a write is done.
    const lost = await refusal(rest.update("u1", { age: 52 }));
    assert.ok(lost.status >= 500, String(lost.status));
    await waitFor("the follower to take over", async () => (await follower.ready()).role === "holder");
    await world.legacy.restart();
    await waitFor("what the store had taken to arrive", async () => (await world.legacy.row(ADA, "u1"))?.age === 51);
  });
});
