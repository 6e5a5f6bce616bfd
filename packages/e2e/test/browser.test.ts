import assert from "node:assert/strict";
import { test } from "node:test";
import { bundlePage, launchChromium } from "../src/harness/browser.js";
import { equal } from "../src/harness/equal.js";
import { PageClient } from "../src/harness/page-client.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, SEED, step, withWorld, type World } from "../src/harness/world.js";

const ROUNDS = 3;
/** Edits of each page that the client in Node has received when the server is killed. */
const RECEIVED_BEFORE_KILL = 30;

const rowsOf = (label: string) => Array.from({ length: 4 }, (_, n) => `${label}${n}`);
const ROWS = { single: rowsOf("a"), multiplexed: rowsOf("b") };
const MORE_ROWS = Object.values(ROWS).flat().map((id) => ({ id, email: `${id}@example.test`, name: id }));

/** Two pages in a browser and a client in Node, all on one path. */
interface Cast {
  readonly world: World;
  /** Its connection carries one store. */
  readonly single: PageClient;
  /** Its store is on a channel of its connection. */
  readonly multiplexed: PageClient;
  readonly node: SyncClient;
}

test("TinyBase in Chromium, in both of its modes, over cuts and a killed server", { timeout: 240_000 }, async (t) => {
  await withWorld({ seed: [...SEED, ...MORE_ROWS] }, async (world) => {
    await world.fillStore();
    const bundle = await bundlePage();
    const browser = await launchChromium();
    world.onEnd(() => browser.close());
    const node = await world.syncClient(ADA);
    const single = await PageClient.open(world, browser, bundle, "single-store", ADA);
    const multiplexed = await PageClient.open(world, browser, bundle, "multiplexed", ADA);
    const cast = { world, single, multiplexed, node };

    await step(t, "the pages have legacy's rows", () => untilSame(cast));
    await step(t, "edits go every way, and reach legacy", () => editsGoEveryWay(cast));
    for (const page of [single, multiplexed]) {
      await step(t, `${page.name} is cut off and comes back, with edits on both sides`, () => comesBack(cast, page));
    }
    await step(t, "both pages are cut off at once, and write the same cell", () => sameCellWhileCut(cast));
    await step(t, "kill -9: the pages come back by themselves", () => serverIsKilled(cast));
    await step(t, "kill -9: the server alone has all that was acknowledged", () => acknowledgedIsKept(cast));
    await step(t, "nothing went wrong unseen in a page", async () => {
      assert.deepEqual([single.errors(), multiplexed.errors()], [[], []]);
    });
  });
});

async function editsGoEveryWay({ world, single, multiplexed, node }: Cast): Promise<void> {
  await single.edit("u1", { age: 41, name: "Ada, single" });
  await multiplexed.edit("u2", { age: 42 });
  node.edit("u3", "age", 43);
  await single.setUser("s1", newUser("s1"));
  await multiplexed.setUser("m1", newUser("m1"));
  await untilEverywhere({ single, multiplexed, node }, (users) => [41, 42, 43].every((age, n) => users[`u${n + 1}`]?.age === age));
  await untilEverywhere({ single, multiplexed, node }, (users) => "s1" in users && "m1" in users);
  await single.deleteUser("m1");
  await multiplexed.deleteUser("s1");
  await untilEverywhere({ single, multiplexed, node }, (users) => !("s1" in users) && !("m1" in users));
  await untilSettled({ world, single, multiplexed, node });
  const rows = await world.legacy.rows(ADA);
  assert.deepEqual([rows.u1?.age, rows.u1?.name, rows.u2?.age, rows.u3?.age], [41, "Ada, single", 42, 43]);
  assert.deepEqual([rows.s1, rows.m1], [undefined, undefined]);
}

/** Rows are changed, created and deleted on both sides of the cut. */
async function comesBack(cast: Cast, page: PageClient): Promise<void> {
  const { world, single, multiplexed, node } = cast;
  const other = page === single ? multiplexed : single;
  for (let round = 0; round < ROUNDS; round += 1) {
    const [here, there] = [`here${round}`, `there${round}`];
    await page.cut();
    await page.edit("u1", { name: here });
    await page.setUser(here, newUser(here));
    node.edit("u2", "name", there);
    node.setUser(there, newUser(there));
    await other.edit("u3", { name: there });
    await waitFor("the others to meet meanwhile", async () => {
      return node.user("u3")?.name === there && (await other.users())[there] !== undefined;
    });
    const cutOff = await page.users();
    assert.deepEqual([cutOff.u1?.name, cutOff[there], node.user(here)], [here, undefined, undefined]);
    await page.mend();
    await untilEverywhere(cast, (users) => {
      const names = ["u1", "u2", "u3"].map((id) => users[id]?.name);
      return equal(names, [here, there, there]) && here in users && there in users;
    });
    // The row that came from the other side.
    await page.cut();
    await page.deleteUser(there);
    node.deleteUser(here);
    await page.mend();
    await untilEverywhere(cast, (users) => !(here in users) && !(there in users));
  }
  await untilSettled(cast);
  const last = ROUNDS - 1;
  const rows = await world.legacy.rows(ADA);
  assert.deepEqual([rows.u1?.name, rows.u2?.name, rows.u3?.name], [`here${last}`, `there${last}`, `there${last}`]);
  await serverHolds(cast);
}

async function sameCellWhileCut(cast: Cast): Promise<void> {
  const { world, single, multiplexed, node } = cast;
  await Promise.all([single.cut(), multiplexed.cut()]);
  await single.edit("u1", { name: "first" });
  node.edit("u1", "name", "second");
  await multiplexed.edit("u1", { name: "third" });
  await Promise.all([single.mend(), multiplexed.mend()]);
  // Whose stamp is the greatest is decided by the clocks; that all agree is not.
  await untilSettled(cast);
  const name = node.user("u1")?.name;
  assert.ok(["first", "second", "third"].includes(String(name)));
  assert.equal((await world.legacy.row(ADA, "u1"))?.name, name);
  await serverHolds(cast);
}

async function serverIsKilled(cast: Cast): Promise<void> {
  const { world, single, multiplexed, node } = cast;
  const opened = [await single.opened(), await multiplexed.opened()] as const;
  await killDuringEdits(cast);
  await waitFor("everybody to notice", async () => {
    return !node.connected && !(await single.connected()) && !(await multiplexed.connected());
  });
  node.edit("u3", "age", 53);
  const written = await stopEditing(cast);
  await world.crossfade.restart();
  await single.untilOpenedAfter(opened[0]);
  await multiplexed.untilOpenedAfter(opened[1]);
  await node.untilConnected();
  await untilAllHave(cast, written);
  assert.equal((await world.legacy.row(ADA, "u3"))?.age, 53);
}

async function acknowledgedIsKept(cast: Cast): Promise<void> {
  const { world, single, multiplexed, node } = cast;
  // What the client in Node receives has been through the server, and so is acknowledged.
  const received = await killDuringEdits(cast);
  await Promise.all([single.cut(), multiplexed.cut(), node.disconnect()]);
  const written = await stopEditing(cast);
  await world.crossfade.restart();
  const newcomer = await world.syncClient(ADA);
  for (const [row, number] of received) {
    const present = numberIn(newcomer.user(row)?.name);
    assert.ok(present >= number, `${row}: acknowledged ${number}, stored ${present}`);
  }
  await newcomer.disconnect();
  await Promise.all([single.mend(), multiplexed.mend(), node.connect()]);
  await untilAllHave(cast, written);
  await serverHolds(cast);
}

/** Both pages edit without end, the server is killed in their midst; what the client in Node had received by then. */
async function killDuringEdits({ world, single, multiplexed, node }: Cast): Promise<ReadonlyMap<string, number>> {
  const received = new Map<string, number>();
  let count = { single: 0, multiplexed: 0 };
  const listener = node.store.addCellListener("users", null, "name", (_store, _table, row, _cell, name) => {
    const mode = ROWS.single.includes(row) ? "single" : "multiplexed";
    count = { ...count, [mode]: count[mode] + 1 };
    received.set(row, numberIn(name));
  });
  await single.startEditing("single", ROWS.single);
  await multiplexed.startEditing("multiplexed", ROWS.multiplexed);
  await waitFor(
    "edits of both pages to arrive",
    () => Math.min(count.single, count.multiplexed) >= RECEIVED_BEFORE_KILL,
    () => count,
  );
  await world.crossfade.kill();
  node.store.delListener(listener);
  assert.equal(received.size, ROWS.single.length + ROWS.multiplexed.length);
  return received;
}

type Written = Readonly<Record<string, number>>;

/** The pages stop to edit; the last number that each row was given. */
async function stopEditing({ single, multiplexed }: Cast): Promise<Written> {
  const written = { ...(await single.stopEditing()), ...(await multiplexed.stopEditing()) };
  assert.equal(Object.keys(written).length, ROWS.single.length + ROWS.multiplexed.length);
  return written;
}

/** In the end everybody, and legacy, have the last of it. */
async function untilAllHave(cast: Cast, written: Written): Promise<void> {
  await untilEverywhere(cast, (users) => Object.entries(written).every(([row, number]) => numberIn(users[row]?.name) === number));
  await untilSettled(cast);
}

/** Nothing is owed, and all clients hold legacy's rows and each other's stamps. */
async function untilSettled(cast: Cast): Promise<void> {
  await cast.world.untilSettled([cast.node]);
  await untilSame(cast);
}

async function untilSame({ single, multiplexed, node }: Omit<Cast, "world">): Promise<void> {
  let last: unknown;
  await waitFor(
    "equal content in all clients, down to stamps and hashes",
    async () => {
      const contents = [await single.content(), await multiplexed.content()];
      last = { node: node.users(), single: await single.users(), multiplexed: await multiplexed.users() };
      return contents.every((content) => equal(content, node.content()));
    },
    () => last,
  );
}

/** A client that brings nothing gets what everybody has: it is the server's. */
async function serverHolds(cast: Cast): Promise<void> {
  const newcomer = await cast.world.syncClient(ADA);
  await waitFor("a newcomer to hold the same", () => equal(newcomer.content(), cast.node.content()));
  await newcomer.disconnect();
  await untilSame(cast);
}

type Users = Readonly<Record<string, { readonly name?: unknown; readonly age?: unknown }>>;

async function untilEverywhere({ single, multiplexed, node }: Omit<Cast, "world">, holds: (users: Users) => boolean): Promise<void> {
  let last: readonly Users[] = [];
  await waitFor(
    "the edits to be everywhere",
    async () => {
      last = [node.users(), await single.users(), await multiplexed.users()];
      return last.every(holds);
    },
    () => last,
  );
}

function newUser(id: string) {
  return { id, orgId: ADA.orgId, email: `${id}@example.test`, name: id, role: "member", age: null, active: true };
}

/** The number at the end of a name that a page has written, or 0. */
function numberIn(name: unknown): number {
  return Number(/ (\d+)$/.exec(String(name))?.[1] ?? 0);
}
