import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { equal } from "../harness/equal.js";
import type { FlagProvider } from "../harness/flags.js";
import type { User, UserPage } from "../harness/legacy-api.js";
import { HttpError, type ListParams, type RestClient } from "../harness/rest-client.js";
import type { SyncClient } from "../harness/sync-client.js";
import { waitFor } from "../harness/wait.js";
import { ADA, BOB, SEED, step, withWorld, type World } from "../harness/world.js";

/** Lists that crossfade's configuration maps: a filter, a search, sorts with ties and missing values, pages. */
const MAPPED_LISTS: readonly ListParams[] = [
  {},
  { role: "member" },
  { roles: "admin,viewer", active: true },
  { minAge: 20, maxAge: 36 },
  { q: "O" },
  { sort: "-age,name" },
  { sort: "age" },
  { sort: "-name", limit: 2, offset: 1 },
];

interface Cast {
  readonly world: World;
  readonly rest: RestClient;
  /** Two TinyBase clients of one organisation. */
  readonly ada: SyncClient;
  readonly bob: SyncClient;
}

/**
 * One migration, told once and run over each flag provider: from `off` to `live` and back, with writes from
 * both sides, a fault in the legacy API, and its death. Nothing in it is faked.
 */
export async function dualRun(
  t: TestContext,
  startFlags: (directory: string) => Promise<FlagProvider>,
): Promise<void> {
  await withWorld({ flags: startFlags }, async (world) => {
    const rest = world.restClient(ADA);
    await step(t, "off: legacy answers, as if crossfade were not there", () => legacyAnswers(world, rest));
    await step(t, "dualwrite: the backfill brings legacy's rows into the store", () => world.fillStore());
    const ada = await world.syncClient(ADA);
    const bob = await world.syncClient(BOB);
    const cast = { world, rest, ada, bob };
    await step(t, "dualwrite: sync clients see their organisation's rows", () => rowsAreThere(cast));
    await step(t, "dualwrite: REST writes reach the TinyBase clients live", () => restWritesArrive(cast));
    await step(t, "dualwrite: TinyBase writes reach the API's database", () => syncWritesArrive(cast));
    await step(t, "shadow: comparisons are recorded, and all agree", () => comparisonsAgree(cast));
    await step(t, "live: the store answers the cohort, in legacy's own shape", () => storeAnswers(cast));
    await step(t, "shadow again: legacy answers the next request", () => legacyAnswersAgain(cast));
    await step(t, "shadow: a wrong field shows up as a signature that names it", () => faultIsNamed(cast));
    await step(t, "shadow: the legacy API dies and comes back", () => legacyDiesAndReturns(cast));
    await step(t, "at the end all sides agree", () => allSidesAgree(cast));
  });
}

async function legacyAnswers(world: World, rest: RestClient): Promise<void> {
  const { origin, body } = await rest.list();
  assert.equal(origin, "legacy");
  assert.deepEqual(body, await direct(world, {}));
  await assert.rejects(rest.get("nobody"), (error: HttpError) => error.status === 404);
  const unmapped = await fetch(`${world.crossfade.url}/healthz`);
  assert.deepEqual([unmapped.status, await unmapped.json()], [200, { status: "ok" }]);
  await excludedPathPasses(rest);
}

/** `/users/me` looks like a row's path and is none: it passes through in every stage. */
async function excludedPathPasses(rest: RestClient): Promise<void> {
  const me = await rest.request<unknown>("GET", "/users/me");
  assert.deepEqual(me, { origin: undefined, body: { userId: ADA.userId, orgId: ADA.orgId, role: "org:admin" } });
}

async function rowsAreThere({ world, ada, bob }: Cast): Promise<void> {
  const rows = await world.legacy.rows(ADA);
  assert.deepEqual(Object.keys(rows), SEED.map(({ id }) => id));
  await waitFor("both clients to hold the backfilled rows", () => equal(ada.users(), rows) && equal(bob.users(), rows), () =>
    ada.users(),
  );
}

async function restWritesArrive({ rest, ada, bob }: Cast): Promise<void> {
  const arrives = (id: string, expected: User | undefined) =>
    waitFor(`${id} to reach both clients`, () => [ada, bob].every((client) => equal(client.user(id), expected)), () =>
      ada.user(id),
    );
  const created = (await rest.create({ id: "r1", email: "r1@example.test", name: "Rest", age: 41 })).body;
  await arrives("r1", created);
  const updated = (await rest.update("r1", { name: "Rest, changed", age: null })).body;
  assert.equal(updated.version, 2);
  await arrives("r1", updated);
  // An id that the server chooses is known only from its answer.
  const generated = (await rest.create({ email: "r2@example.test", name: "Generated" })).body;
  await arrives(generated.id, generated);
  await rest.delete("r1");
  await arrives("r1", undefined);
}

async function syncWritesArrive({ world, ada, bob }: Cast): Promise<void> {
  ada.edit("u1", "name", "Ada, edited");
  const edited = await untilLegacyHas(world, "u1", { name: "Ada, edited", version: 2 });
  // What legacy made of it comes back: its version and its time.
  await waitFor("the edit with legacy's version at the other client", () => equal(bob.user("u1"), edited), () => bob.user("u1"));

  const row = { id: "s1", orgId: ADA.orgId, email: "s1@example.test", name: "Sync", role: "viewer", age: null, active: true };
  bob.setUser("s1", row);
  const created = await untilLegacyHas(world, "s1", row as Partial<User>);
  await waitFor("the new row whole at both clients", () => [ada, bob].every((client) => equal(client.user("s1"), created)), () =>
    ada.user("s1"),
  );

  ada.deleteUser("s1");
  await waitFor("the row to be gone from legacy", async () => (await world.legacy.row(ADA, "s1")) === undefined);
  await waitFor("the row to be gone at the other client", () => bob.user("s1") === undefined);

  const purposes = Object.keys(await world.legacy.requestsByPurpose()).filter((purpose) => purpose !== "none");
  assert.notDeepEqual(purposes, [], "requests that crossfade sends of its own accord say so");
}

async function comparisonsAgree({ world, rest }: Cast): Promise<void> {
  const { crossfade } = world;
  await crossfade.moveTo("shadow");
  const before = total((await crossfade.comparisons()).verdicts);
  for (const params of MAPPED_LISTS) {
    const { origin, body } = await rest.list(params);
    assert.equal(origin, "legacy");
    assert.deepEqual(body, await direct(world, params));
  }
  assert.equal((await rest.get("u1")).origin, "legacy");
  const reads = MAPPED_LISTS.length + 1;
  const { verdicts } = await waitForComparisons(world, before + reads);
  const disagreeing = Object.entries(verdicts).filter(([verdict, count]) => count > 0 && !["match", "lag"].includes(verdict));
  assert.deepEqual(disagreeing, []);
  assert.ok((verdicts.match ?? 0) > 0);
}

async function storeAnswers({ world, rest }: Cast): Promise<void> {
  await world.flags.set({ cohortPercent: 100 });
  await world.crossfade.moveTo("live");
  await waitFor("the store to answer", async () => (await rest.list()).origin === "sync");
  for (const params of MAPPED_LISTS) {
    const { origin, body } = await rest.list(params);
    assert.equal(origin, "sync", JSON.stringify(params));
    assert.deepEqual(body, await direct(world, params), JSON.stringify(params));
  }
  const one = await rest.get("u2");
  assert.deepEqual([one.origin, one.body], ["sync", await world.legacy.row(ADA, "u2")]);
  const unmapped = await rest.request<UserPage>("GET", "/users?somethingElse=1");
  assert.equal(unmapped.origin, "legacy", "a query that is not mapped goes to legacy");
  await excludedPathPasses(rest);

  const written = (await rest.update("u2", { age: 44 })).body;
  await waitFor("a REST write to be read from the store", async () => {
    const { origin, body } = await rest.get("u2");
    return origin === "sync" && equal(body, written);
  });
}

async function legacyAnswersAgain({ world, rest }: Cast): Promise<void> {
  await world.flags.set({ cohortPercent: 0 });
  await waitFor("a user outside of the cohort to be answered by legacy", async () => (await rest.list()).origin === "legacy");
  await world.crossfade.moveTo("shadow");
  assert.equal((await rest.list()).origin, "legacy");
}

async function faultIsNamed({ world, rest, ada }: Cast): Promise<void> {
  const { crossfade, legacy } = world;
  const name = ada.user("u1")?.name;
  await legacy.setFaults({ wrongField: { field: "name", value: "WRONG" } });
  try {
    assert.deepEqual(new Set((await rest.list()).body.data.map((user) => user.name)), new Set(["WRONG"]));
    assert.equal((await rest.get("u1")).body.name, "WRONG");
    let last: unknown;
    const { signatures, verdicts } = await waitFor(
      "a signature for the list and one for the row, both naming the field",
      async () => {
        const comparisons = await crossfade.comparisons();
        last = comparisons;
        const naming = comparisons.signatures.filter(
          ({ resource, paths, count }) => resource === "users" && count > 0 && paths.some((path) => path.endsWith("/name")),
        );
        const routes = new Set(naming.map(({ route }) => route));
        return routes.size >= 2 ? comparisons : undefined;
      },
      () => last,
    );
    assert.ok((verdicts.mismatch ?? 0) > 0);
    for (const { paths } of signatures) {
      assert.ok(paths.every((path) => !/\/\d+(\/|$)/.test(path)), `indices are erased: ${paths.join(", ")}`);
    }
    const kept = JSON.stringify(signatures);
    assert.ok(!kept.includes("WRONG") && !kept.includes("example.test"), `no value is kept: ${kept}`);
  } finally {
    await legacy.setFaults({});
  }
  assert.equal(ada.user("u1")?.name, name, "what a comparison reads is never written");
}

async function legacyDiesAndReturns({ world, rest, ada, bob }: Cast): Promise<void> {
  const { crossfade, legacy } = world;
  const screen = rest.watchList({}, 50);
  world.onEnd(() => screen.stop());
  await waitFor("the list to be on the screen", () => screen.result().isSuccess);

  await legacy.kill();
  const refusal = await rest.get("u1").then(
    () => assert.fail("an answer without a legacy API"),
    (error: HttpError) => error,
  );
  assertBadGateway(refusal);
  assertBadGateway(await rest.create({ id: "never", email: "never@example.test", name: "Never" }).then(
    () => assert.fail("a write without a legacy API"),
    (error: HttpError) => error,
  ));
  await waitFor("the screen to show the error", () => screen.result().isError);

  ada.edit("u1", "name", "Ada, while legacy was down");
  bob.edit("u3", "age", 21);
  await waitFor("the edits to reach each other", () => bob.user("u1")?.name === "Ada, while legacy was down" && ada.user("u3")?.age === 21);
  let outbox = await crossfade.outbox();
  await waitFor(
    "both edits to be owed",
    async () => {
      outbox = await crossfade.outbox();
      const rows = outbox.entries.filter(({ resource }) => resource === "users").map(({ row }) => row);
      return outbox.pending >= 2 && rows.includes("u1") && rows.includes("u3");
    },
    () => outbox,
  );

  await legacy.restart();
  await untilLegacyHas(world, "u1", { name: "Ada, while legacy was down" });
  await untilLegacyHas(world, "u3", { age: 21 });
  await waitFor(
    "the outbox to be empty",
    async () => {
      outbox = await crossfade.outbox();
      return outbox.pending === 0;
    },
    () => outbox,
  );
  await waitFor("the screen to come back by itself", () => screen.result().isSuccess);
  screen.stop();
  assert.equal((await rest.get("u3")).body.age, 21);
  assert.equal(await legacy.row(ADA, "never"), undefined);
  assert.equal(ada.user("never"), undefined);
  assert.equal((await crossfade.stages())[0]?.caught_up, true, "a write that never left is no write that the store lacks");
}

async function allSidesAgree({ world, ada, bob }: Cast): Promise<void> {
  const rows = await world.legacy.rows(ADA);
  await waitFor("both clients to hold exactly legacy's rows", () => equal(ada.users(), rows) && equal(bob.users(), rows), () => ({
    legacy: rows,
    ada: ada.users(),
  }));
  // Stamps and hashes included: the clients are replicas, not look-alikes.
  assert.deepEqual(ada.store.getMergeableContent(), bob.store.getMergeableContent());
}

function assertBadGateway({ status, contentType, body }: HttpError): void {
  assert.equal(status, 502);
  assert.match(contentType, /^application\/problem\+json/);
  const problem = body as { status?: unknown; title?: unknown };
  assert.equal(problem.status, 502);
  assert.ok(typeof problem.title === "string" && problem.title !== "");
}

/** The API's own answer to a list, past crossfade. */
async function direct(world: World, params: ListParams): Promise<UserPage> {
  const query = new URLSearchParams(Object.entries(params).map(([name, value]): [string, string] => [name, String(value)]));
  return (await (await world.legacy.fetch(ADA, `/users?${query.toString()}`)).json()) as UserPage;
}

async function untilLegacyHas(world: World, id: string, expected: Partial<User>): Promise<User> {
  let last: User | undefined;
  return await waitFor(
    `legacy to have ${JSON.stringify(expected)} in ${id}`,
    async () => {
      const row = await world.legacy.row(ADA, id);
      last = row;
      const has = (field: string) => row?.[field as keyof User] === expected[field as keyof User];
      return row !== undefined && Object.keys(expected).every(has) ? row : undefined;
    },
    () => last,
  );
}

async function waitForComparisons(world: World, count: number) {
  let last: unknown;
  return await waitFor(
    `${count} comparisons`,
    async () => {
      const comparisons = await world.crossfade.comparisons();
      last = comparisons;
      return total(comparisons.verdicts) >= count ? comparisons : undefined;
    },
    () => last,
  );
}

function total(verdicts: Readonly<Record<string, number>>): number {
  return Object.values(verdicts).reduce((sum, count) => sum + count, 0);
}
