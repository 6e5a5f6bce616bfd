import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { MergeableStore, Row } from "tinybase";
import { equal } from "../src/harness/equal.js";
import { Forger, type ForgedCells } from "../src/harness/forger.js";
import type { Person } from "../src/harness/issuer.js";
import { multiplexed, withToken } from "../src/harness/multiplexed.js";
import { assertShut, RawClient, tryChannel, tryToOpen } from "../src/harness/raw-client.js";
import { Relay } from "../src/harness/relay.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { openWith, syncToken } from "../src/harness/sync-session.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, EVE, step, VIEWER, withWorld, type World } from "../src/harness/world.js";

/** Who may write what; viewers are not listed. */
const ROLES = `
[resource.write.roles]
admin = { cells = ["*"], create = true, delete = true }
member = { cells = ["name", "age"] }
`;
const FORGED = "FORGED BY A VIEWER";
const HONEST = "WRITTEN BY AN ADMIN";
const REFUSED = 'crossfade_sync_refused_cells_total{reason="role-may-not-write"}';

/** What a viewer tries: an edit, a row of their own, a deletion. */
const ATTEMPTS: readonly (readonly [row: string, cells: ForgedCells])[] = [
  ["u1", { name: FORGED }],
  ["f1", { id: "f1", orgId: "org_1", email: "f1@example.test", name: FORGED, role: "admin", age: 1, active: true }],
  ["u2", Object.fromEntries(["id", "orgId", "email", "name", "role", "age", "active", "createdAt", "updatedAt", "version"].map((cell) => [cell, undefined]))],
  ["u3", { name: FORGED, role: "admin", age: undefined }],
];

/** How a client that sends what it likes gets in. */
const WAYS: readonly (readonly [where: string, connect: (world: World, person: Person) => Promise<RawClient>])[] = [
  ["on a socket", async (world, person) => RawClient.connect(await world.openSync(person))],
  ["on a channel", async (world, person) => RawClient.subscribe(await withToken(world, person, "")(), "org/org_1")],
];

interface Cast {
  readonly world: World;
  readonly relay: Relay;
  /** An admin and a member, who must not notice anything. */
  readonly ada: SyncClient;
  readonly bob: SyncClient;
  /** Grows with each edit that an admin makes to see that all goes on. */
  age: number;
}

test("a role that may not write changes nothing, whatever its client sends", { timeout: 240_000 }, async (t) => {
  let relay: Relay | undefined;
  const relayed = async (target: () => string) => (relay = await Relay.start(target));
  await withWorld({ config: (toml) => toml + ROLES, relay: relayed }, async (world) => {
    await world.fillStore();
    assert.ok(relay !== undefined);
    const cast: Cast = { world, relay, ada: await world.syncClient(ADA), bob: await world.syncClient(BOB), age: 40 };
    await world.untilSettled([cast.ada, cast.bob]);
    await step(t, "the sync token's answer says who may write what", () => tokenTellsRights(world));
    await step(t, "edits by a client whose app does not stop them", () => modifiedClient(cast));
    await step(t, "the same on a channel of a multiplexed socket", () => modifiedChannel(cast));
    for (const [where, connect] of WAYS) await forgedSteps(t, cast, where, () => connect(world, VIEWER));
    await step(t, "an admin's writes pass in all of these ways: the forger is not clumsy", () => adminsPass(cast));
    await step(t, "the log and a counter say who, why and how much", () => toldToOperators(world));
    await step(t, "a role with some cells writes these, and neither makes nor deletes rows", () => someCells(cast));
    await step(t, "nothing of it is in a database, nor with a newcomer after a restart", () => nothingIsKept(cast));
  });
});

async function tokenTellsRights({ crossfade, issuer }: World): Promise<void> {
  const rightsOf = async (person: typeof ADA) => {
    const { role, permissions, write } = await syncToken(crossfade.url, issuer, person);
    return { role, permissions, write };
  };
  const all = { cells: ["*"], create: true, delete: true, own_rows: false };
  const some = { cells: ["age", "name"], create: false, delete: false, own_rows: false };
  assert.deepEqual(await rightsOf(ADA), { role: "org:admin", permissions: [], write: { users: [all] } });
  assert.deepEqual(await rightsOf(BOB), { role: "org:member", permissions: [], write: { users: [some] } });
  assert.deepEqual(await rightsOf(VIEWER), { role: "org:viewer", permissions: [], write: { users: [] } });
}

async function modifiedClient(cast: Cast): Promise<void> {
  const { world, ada } = cast;
  const viewer = await world.syncClient(VIEWER);
  await waitFor("the rows to be there", () => equal(viewer.users(), ada.users()));
  await goesBack(cast, viewer.store);
  // The same made offline, which the server learns by asking for it.
  await viewer.disconnect();
  const before = await world.crossfade.counter(REFUSED);
  writeEverything(viewer.store);
  await viewer.connect();
  await isBack(cast, viewer.store, before);
  assert.deepEqual(viewer.closes.filter(({ code }) => code >= 4000), [], "it is not closed for it");
  await othersGoOn(cast);
  await waitFor("the viewer to see what others write", () => equal(viewer.users(), ada.users()));
  await viewer.disconnect();
}

async function modifiedChannel(cast: Cast): Promise<void> {
  const { world, ada } = cast;
  const { stores, socket } = await multiplexed(world, withToken(world, VIEWER, "/org"), ["org_1"]);
  const [store] = stores as [MergeableStore];
  await waitFor("the rows to be there", () => equal(users(store), ada.users()));
  await goesBack(cast, store);
  const opened = socket.opened;
  socket.cut();
  const before = await world.crossfade.counter(REFUSED);
  writeEverything(store);
  await waitFor("the socket to be there again", () => socket.opened > opened);
  await isBack(cast, store, before);
  await othersGoOn(cast);
  await socket.closed();
}

/** An edit, a deletion and a new row, as an app would make them. */
function writeEverything(store: MergeableStore): void {
  store.setCell("users", "u1", "name", FORGED);
  store.delRow("users", "u2");
  store.setRow("users", "f1", { id: "f1", orgId: "org_1", email: "f1@example.test", name: FORGED, role: "admin", active: true });
  store.delCell("users", "u3", "age");
}

/** What is written is seen at once, and taken back by the server without anybody's doing. */
async function goesBack(cast: Cast, store: MergeableStore): Promise<void> {
  const before = await cast.world.crossfade.counter(REFUSED);
  writeEverything(store);
  assert.equal(store.getCell("users", "u1", "name"), FORGED);
  await isBack(cast, store, before);
}

async function isBack({ world, ada }: Cast, store: MergeableStore, refusedBefore: number): Promise<void> {
  // One cell, ten of a deleted row, six of a new one, one that was cleared.
  await waitFor("all of it to be refused", async () => (await world.crossfade.counter(REFUSED)) >= refusedBefore + 18);
  await waitFor("the client to be as it was", () => equal(users(store), ada.users()), () => users(store));
}

async function forgedSteps(t: TestContext, cast: Cast, where: string, connect: () => Promise<RawClient>): Promise<void> {
  const attack = async (forge: (forger: Forger, raw: RawClient) => Promise<void>) => {
    const raw = await connect();
    try {
      await raw.untilHeard();
      const before = await cast.world.crossfade.counter(REFUSED);
      await forge(new Forger(raw), raw);
      await raw.untilHeard();
      assert.ok((await cast.world.crossfade.counter(REFUSED)) > before, "it was judged");
      assert.ok(raw.connected, "refusing does not end a connection");
      await othersGoOn(cast);
    } finally {
      raw.close();
    }
  };
  await step(t, `forged changes ${where}, to everybody, to the server, to one client`, () =>
    attack(async (forger) => {
      for (const [row, cells] of ATTEMPTS) forger.push(row, cells, cast.ada);
    }));
  await step(t, `forged answers ${where} to what the server asks`, () =>
    attack(async (forger) => {
      for (const [row, cells] of ATTEMPTS) await forger.beAsked(row, cells);
    }));
  await step(t, `forged changes ${where} in fragments`, () =>
    attack(async (forger) => {
      for (const [row, cells] of ATTEMPTS) forger.pushInFragments(row, cells, 5);
    }));
}

async function adminsPass(cast: Cast): Promise<void> {
  const { world, ada, bob } = cast;
  for (const [where, connect] of WAYS) {
    const raw = await connect(world, ADA);
    const forger = new Forger(raw);
    const ways = [
      ["unasked", async (cells: ForgedCells) => forger.push("u4", cells, bob)],
      ["asked", (cells: ForgedCells) => forger.beAsked("u4", cells)],
      ["in fragments", async (cells: ForgedCells) => forger.pushInFragments("u4", cells, 5)],
    ] as const;
    for (const [how, forge] of ways) {
      const name = `Zoë, ${where}, ${how}`;
      await forge({ name });
      await waitFor(`the name to be in legacy: ${name}`, async () => (await world.legacy.row(ADA, "u4"))?.name === name);
      await world.untilSettled([ada, bob]);
    }
    raw.close();
  }
}

/** An honest edit arrives everywhere, and with it nothing else has. */
async function othersGoOn(cast: Cast): Promise<void> {
  const { world, relay, ada, bob } = cast;
  cast.age += 1;
  const rest = ({ u4: _, ...others }: Record<string, unknown>) => others;
  const honest = rest(await world.legacy.rows(ADA));
  ada.edit("u4", "age", cast.age);
  await waitFor("an honest edit to be in legacy", async () => (await world.legacy.row(ADA, "u4"))?.age === cast.age);
  await world.untilSettled([ada, bob]);
  assert.deepEqual(rest(ada.users()), honest);
  assert.deepEqual(Object.keys(honest).sort(), ["u1", "u2", "u3"]);
  for (const client of [ada, bob]) {
    assert.deepEqual(client.received.filter((frame) => frame.includes(FORGED)), []);
    assert.deepEqual(client.received.filter((frame) => !frame.startsWith("S\n")), [], "a star");
    assert.deepEqual(client.closes, []);
  }
  const writes = relay.answered.filter(({ method }) => method !== "GET");
  assert.deepEqual(writes.filter(({ path }) => path !== "/users/u4"), [], "legacy was asked for nothing else");
}

async function toldToOperators({ crossfade }: World): Promise<void> {
  assert.ok((await crossfade.counter(REFUSED)) > 0);
  const refused = crossfade.events().filter(({ message }) => message === "edit refused");
  assert.ok(refused.length > 0, crossfade.log());
  for (const { reason, path, cells } of refused) {
    assert.deepEqual([reason, path], ["role-may-not-write", "org/org_1"]);
    assert.ok(Number(cells) > 0);
  }
  assert.ok(!crossfade.log().includes(FORGED), "values are not logged");
  assert.ok(!crossfade.log().includes(VIEWER.userId), "nor is who they are");
}

async function someCells(cast: Cast): Promise<void> {
  const { world, ada, bob } = cast;
  const { crossfade } = world;
  const before = bob.users();
  bob.edit("u1", "name", "Ada, renamed by a member");
  await waitFor("what a member may to reach legacy", async () => (await world.legacy.row(ADA, "u1"))?.name === "Ada, renamed by a member");
  for (const [what, edit] of [
    ["role-may-not-write-cell", () => bob.edit("u1", "role", "viewer")],
    ["role-may-not-delete", () => bob.deleteUser("u2")],
    ["role-may-not-create", () => bob.setUser("b1", { id: "b1", orgId: "org_1", email: "b1@example.test", name: FORGED, role: "viewer", active: true })],
  ] as const) {
    const counter = `crossfade_sync_refused_cells_total{reason="${what}"}`;
    assert.equal(await crossfade.counter(counter), 0);
    edit();
    await waitFor(what, async () => (await crossfade.counter(counter)) > 0);
  }
  await waitFor("the member's client to be as it was", () => equal(Object.keys(bob.users()).sort(), Object.keys(before).sort()));
  await world.untilSettled([ada, bob]);
  assert.equal(bob.user("u1")?.role, before.u1?.role);
  assert.deepEqual(bob.user("u2"), before.u2);
}

async function nothingIsKept(cast: Cast): Promise<void> {
  const { world, ada, bob } = cast;
  ada.edit("u1", "name", HONEST);
  await waitFor("an admin's edit to be in legacy", async () => (await world.legacy.row(ADA, "u1"))?.name === HONEST);
  await world.untilSettled([ada, bob]);
  const rows = ada.users();
  await world.crossfade.stop();
  const files = (await readdir(world.directory)).filter((name) => name.includes(".db"));
  const holding = async (text: string) => {
    const contents = await Promise.all(files.map(async (name) => ({ name, bytes: await readFile(join(world.directory, name)) })));
    return contents.filter(({ bytes }) => bytes.includes(text)).map(({ name }) => name.split(".db")[0]);
  };
  // The same search finds what was written honestly, in the store and in legacy.
  assert.deepEqual([...new Set(await holding(HONEST))].sort(), ["crossfade", "legacy"]);
  assert.deepEqual(await holding(FORGED), []);
  await world.crossfade.restart();
  for (const person of [ADA, VIEWER]) {
    const newcomer = await world.syncClient(person);
    await waitFor("a newcomer to have the rows", () => equal(newcomer.users(), rows), () => newcomer.users());
  }
  assert.equal((await world.crossfade.outbox()).pending, 0);
}

function users(store: MergeableStore): Record<string, Row> {
  return JSON.parse(JSON.stringify(store.getTable("users"))) as Record<string, Row>;
}

/** Whatever might be taken for `org/org_2` by someone who decodes, normalises or folds, beside the name itself. */
const SPELLINGS: readonly string[] = [
  "org/org_2",
  // Percent-encoded, in part, as a whole, twice, over-long.
  "org%2Forg_2", "org/org%5F2", "org/org%5f2", "%6Frg/org_2", "%6F%72%67%2F%6F%72%67%5F%32", "org%252Forg_2", "org%c0%aforg_2",
  // Climbing.
  "org/org_1/../org_2", "org/org_1/%2e%2e/org_2", "org/org_1%2F..%2Forg_2", "org/./org_2", "./org/org_2", "../sync/org/org_2", "org/org_1/..;/org_2", "org\\org_2", "org/org_1\\..\\org_2",
  // Slashes.
  "org//org_2", "/org/org_2", "//org/org_2", "org/org_2/", "org/org_2//", "org/org_2/.", "org/org_2/..",
  // Case.
  "ORG/org_2", "org/ORG_2", "Org/Org_2",
  // Look-alikes, composed and invisible characters, raw and encoded.
  "\u043Erg/org_2", "org/\u043Erg_2", "org\u2215org_2", "org\uFF0Forg_2", "org/org\uFF3F2", "org/org_\uFF12", "org/org_2\u200B", "org/org_2\uFEFF", "%D0%BErg/org_2", "org%EF%BC%8Forg_2", "org/org_%EF%BC%92",
  // Something behind it.
  "org/org_2%00", "org/org_2%20", "org/org_2%0A", "org/org_2;x", "org/org_2.", "org/org_2~", "org/org_2:80", "org/org_2,org/org_1", "org/org_1,org/org_2",
  // Generations, of it and of what is not one.
  "org/org_2@1", "org/org_2@2", "org/org_2@02", "org/org_2%402", "org/org_2@", "@2", "org/org_1@2/../org_2",
  // Less, nothing, everything.
  "org", "org/", "org/*", "*", "org/{org}", "%", "%2F", ".", "..",
];

test("a token for one path reads no other, by any spelling, on a socket and on channels", { timeout: 240_000 }, async (t) => {
  await withWorld({}, async (world) => {
    await world.fillStore();
    const { crossfade, issuer } = world;
    const { token } = await syncToken(crossfade.url, issuer, ADA);
    const eve = await world.syncClient(EVE);
    await waitFor("the other path to have its row", () => eve.user("x1") !== undefined);

    await step(t, "the own path opens, also by a target as it stands", async () => {
      assert.equal((await tryToOpen(`${crossfade.syncUrl}/org/org_1`, token)).kind, "open");
      assert.equal((await tryToOpen(crossfade.syncUrl, token, "/sync/org/org_1")).kind, "open");
    });

    await step(t, "no spelling opens the other path", async () => {
      for (const spelling of [...SPELLINGS, "", "org/org_2?path=org/org_1", "org/org_2#org/org_1", "?path=org/org_2", "org/org_1/../org_2?"]) {
        assertShut(await tryToOpen(crossfade.syncUrl, token, `/sync/${spelling}`), JSON.stringify(spelling));
      }
      for (const target of ["/sync", "//sync/org/org_2", "/SYNC/org/org_2", "/sync;/org/org_2", "/x/../sync/org/org_2", "/%73ync/org/org_2"]) {
        assertShut(await tryToOpen(crossfade.syncUrl, token, target), target);
      }
    });

    const open = (base: string, target?: string) =>
      openWith(`${crossfade.syncUrl}${base}`, ["tinybase", "crossfade", `crossfade.token.${token}`], target);
    await step(t, "no spelling opens the other path as a channel", async () => {
      assert.equal(await tryChannel(open(""), "org/org_1"), "open");
      assert.equal(await tryChannel(open("/org"), "org_1"), "open");
      for (const spelling of SPELLINGS) {
        assert.equal(await tryChannel(open(""), spelling), "refused", spelling);
        const under = spelling.replace(/^org\//, "");
        assert.equal(await tryChannel(open("/org"), under), "refused", under);
        assert.equal(await tryChannel(open("/org"), `../${spelling}`), "refused", spelling);
      }
      assert.equal(await tryChannel(open(""), ""), "refused");
    });

    await step(t, "nor does a base that is spelled oddly, with a channel under it", async () => {
      for (const base of ["/org/org_1/..", "/org/", "//org", "/%6Frg", "/ORG", "/org/%2e", "/./org", "/org/org_1/../../org", "/org?", "/org#"]) {
        const opening = open("", `/sync${base}`);
        const channel = await tryChannel(opening, "org_2").catch((error: unknown) => {
          assert.match(String(error), /Unexpected server response: 4\d\d/, base);
          return "refused";
        });
        assert.equal(channel, "refused", base);
      }
    });

    await step(t, "the other path is as it was, and lets its own user in", async () => {
      eve.edit("x1", "name", "Eve, still alone");
      await waitFor("the edit to be in legacy", async () => (await world.legacy.row(EVE, "x1"))?.name === "Eve, still alone");
      assert.deepEqual(eve.closes, []);
    });
  });
});
