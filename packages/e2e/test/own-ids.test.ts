import assert from "node:assert/strict";
import { test } from "node:test";
import type { User } from "../src/harness/legacy-api.js";
import { Relay } from "../src/harness/relay.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

/** The legacy API makes ids, and does not know a create again: the email tells whether it has happened. */
const probing = (toml: string) =>
  toml
    .replace('create = "client-id"', 'create = "probe"')
    .replace('[resource.cells.id]\ntype = "string"', '[resource.cells.id]\ntype = "string"\nread_only = true')
    .replace('[resource.cells.email]\ntype = "string"', '[resource.cells.email]\ntype = "string"\nunique = true')
    .replace("filters = [", 'filters = [\n  { param = "email", cell = "email", op = "eq" },');

/** A user as a client makes one: without an id of the API's. */
const newUser = (name: string) => ({
  orgId: ADA.orgId,
  email: `${name}@example.test`,
  name,
  role: "member",
  age: null,
  active: true,
});

test("a row made by a client keeps its row id, and goes by legacy's id everywhere else", { timeout: 240_000 }, async (t) => {
  let relay: Relay | undefined;
  const between = async (target: () => string) => (relay = await Relay.start(target));
  await withWorld({ relay: between, legacyMakesIds: true, config: probing, responseTimeoutMs: 1_000 }, async (world) => {
    await world.fillStore();
    const ada = await world.syncClient(ADA);
    const bob = await world.syncClient(BOB);
    const rest = world.restClient(ADA);

    let id = "";
    await step(t, "it gets legacy's id in its id cell, under the row id that it had", async () => {
      ada.setUser("row-1", newUser("first"));
      id = await idOf(bob, "row-1");
      assert.notEqual(id, "row-1");
      assert.equal((await world.legacy.row(ADA, id))?.name, "first");
    });
    await step(t, "REST requests may name it by either id", async () => {
      const { body: byRow } = await rest.get("row-1");
      const { body: byLegacy } = await rest.get(id);
      assert.deepEqual([byRow.id, byLegacy.id], [id, id]);
      await rest.update("row-1", { name: "by the row id" });
      await waitFor("the other client to see it", () => bob.user("row-1")?.name === "by the row id");
      await rest.update(id, { age: 30 });
      await waitFor("the other client to see it", () => bob.user("row-1")?.age === 30);
      assert.equal(bob.user(id), undefined, "it is one row");
    });
    await step(t, "edits of clients are delivered under legacy's id", async () => {
      bob.edit("row-1", "name", "by a client");
      await waitFor("legacy to have it", async () => (await world.legacy.row(ADA, id))?.name === "by a client");
    });
    await step(t, "a create whose answer is lost is not sent again", async () => {
      await losingCreates(relay, async () => ada.setUser("row-2", newUser("second")));
      const second = await idOf(bob, "row-2");
      await rest.update(second, { name: "second, renamed" });
      await waitFor("the other client to see it", () => bob.user("row-2")?.name === "second, renamed");
      assert.equal(creates(relay, "second"), 1);
    });
    await step(t, "nor when crossfade is killed before it has asked", async () => {
      await losingCreates(relay, async () => {
        ada.setUser("row-3", newUser("third"));
        await waitFor("legacy to have made it", () => creates(relay, "third") === 1);
        await world.crossfade.kill();
      });
      await world.crossfade.restart();
      await ada.untilConnected();
      await bob.untilConnected();
      await idOf(bob, "row-3");
      assert.equal(creates(relay, "third"), 1);
    });
    await step(t, "what has another's email is refused, with the answer lost, too", async () => {
      await losingCreates(relay, async () => ada.setUser("row-4", { ...newUser("fourth"), email: "first@example.test" }));
      await waitFor("it to be taken back", () => ada.user("row-4") === undefined);
      assert.equal((await world.crossfade.outbox()).dead, 0);
    });
    await step(t, "the store answers as legacy does", () => answersAlike(world, [ada, bob]));
    await step(t, "it is deleted by its row id", async () => {
      await rest.delete("row-1");
      await waitFor("the clients to have heard", () => [ada, bob].every((client) => client.user("row-1") === undefined));
      assert.equal(await world.legacy.row(ADA, id), undefined);
    });
  });
});

/** The id that legacy gave a row, once the client knows it. */
async function idOf(client: SyncClient, row: string): Promise<string> {
  return await waitFor(`${row} to have legacy's id`, () => {
    const id = client.user(row)?.id;
    return typeof id === "string" ? id : undefined;
  });
}

/** How many creates of this name the API has carried out. */
function creates(relay: Relay | undefined, name: string): number {
  const made = relay?.answered.filter(({ method, body, status }) => {
    return method === "POST" && status === 201 && (body as User).name === name;
  });
  return made?.length ?? 0;
}

/** Loses the answers to creates until one was lost that `body` causes. */
async function losingCreates(relay: Relay | undefined, body: () => Promise<void>): Promise<void> {
  assert.ok(relay);
  let lost = 0;
  relay.loses = ({ method }) => {
    lost += Number(method === "POST");
    return method === "POST";
  };
  await body();
  await waitFor("an answer to be lost", () => lost > 0);
  relay.loses = () => false;
}

/** In `live`, everybody reads from the store. */
async function answersAlike(world: World, clients: readonly SyncClient[]): Promise<void> {
  await waitFor("nothing to be owed", async () => (await world.crossfade.outbox()).pending === 0);
  await world.flags.set({ cohortPercent: 100 });
  await world.crossfade.moveTo("live");
  const legacy = await world.legacy.rows(ADA);
  const rest = world.restClient(ADA);
  const fromStore = await waitFor("the store to answer", async () => {
    const answer = await rest.request<{ data: User[] }>("GET", "/users?limit=100");
    return answer.origin === "sync" ? answer.body.data : undefined;
  });
  const ids = fromStore.map(({ id }) => id);
  assert.deepEqual([...ids].sort(), Object.keys(legacy).sort());
  for (const user of fromStore) assert.equal(user.name, legacy[user.id]?.name);
  for (const client of clients) assert.equal(Object.keys(client.users()).length, ids.length);
  const byRow = await rest.request<User>("GET", "/users/row-2");
  assert.deepEqual([byRow.origin, byRow.body.name], ["sync", "second, renamed"]);
}
