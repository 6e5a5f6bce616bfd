import assert from "node:assert/strict";
import { test } from "node:test";
import { createMergeableStore, type MergeableStore } from "tinybase";
import { createWsSynchronizer } from "tinybase/synchronizers/synchronizer-ws-client";
import { equal } from "../src/harness/equal.js";
import { multiplexed, withToken } from "../src/harness/multiplexed.js";
import { RawClient } from "../src/harness/raw-client.js";
import { ReconnectingSocket } from "../src/harness/reconnecting-socket.js";
import { openWith } from "../src/harness/sync-session.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, EVE, step, withWorld } from "../src/harness/world.js";

function only<T>(items: readonly T[]): T {
  assert.equal(items.length, 1);
  return items[0] as T;
}

/** With ordinary prototypes, which TinyBase's objects do not have. */
const plain = (object: object): unknown => JSON.parse(JSON.stringify(object));

async function untilEqual(what: string, stores: readonly MergeableStore[]): Promise<void> {
  const [first, ...others] = stores as [MergeableStore, ...MergeableStore[]];
  await waitFor(
    what,
    () => others.every((store) => equal(store.getMergeableContent(), first.getMergeableContent())),
    () => stores.map((store) => [store.getMergeableContentHashes(), plain(store.getTables())]),
  );
}

test("real clients of both modes meet on a mapped path, over every return", { timeout: 240_000 }, async (t) => {
  await withWorld({}, async (world) => {
    await world.fillStore();
    const single = await world.syncClient(ADA);
    const atRoot = await multiplexed(world, withToken(world, BOB, ""), ["org/org_1"]);
    const underOrg = await multiplexed(world, withToken(world, ADA, "/org"), ["org_1"]);
    const bob = only(atRoot.stores);
    const ada = only(underOrg.stores);
    const all = [single.store, bob, ada];

    await step(t, "the subprotocol is TinyBase's own, and everybody has legacy's rows", async () => {
      assert.equal(atRoot.socket.protocol, "tinybase");
      await untilEqual("the backfilled rows to be everywhere", all);
      assert.equal(bob.getCell("users", "u1", "name"), "Ada");
    });

    await step(t, "edits go every way, and reach legacy", async () => {
      single.edit("u1", "age", 41);
      bob.setCell("users", "u2", "age", 42);
      ada.setCell("users", "u3", "age", 43);
      await untilEqual("the three edits to be everywhere", all);
      await world.untilSettled([single]);
      assert.deepEqual(["u1", "u2", "u3"].map((id) => ada.getCell("users", id, "age")), [41, 42, 43]);
    });

    await step(t, "a cut socket comes back with what was edited meanwhile, on both sides", async () => {
      for (let round = 0; round < 5; round += 1) {
        const before = atRoot.socket.opened;
        atRoot.socket.cut();
        bob.setCell("users", "u2", "name", `bob ${round}`);
        single.edit("u1", "name", `Ada ${round}`);
        await waitFor("the socket to be open again", () => atRoot.socket.opened > before);
        await untilEqual("both edits to be everywhere", all);
        assert.equal(single.user("u2")?.name, `bob ${round}`);
        assert.equal(bob.getCell("users", "u1", "name"), `Ada ${round}`);
      }
    });

    await step(t, "the server is killed: offline edits of both modes survive it", async () => {
      await world.crossfade.kill();
      bob.setCell("users", "u2", "age", 52);
      ada.setCell("users", "u3", "age", 53);
      single.edit("u1", "age", 51);
      await world.crossfade.restart();
      await untilEqual("all offline edits to be everywhere", all);
      assert.deepEqual(["u1", "u2", "u3"].map((id) => bob.getCell("users", id, "age")), [51, 52, 53]);
      await world.untilSettled([single]);
    });

    await step(t, "a token opens no other path, by any spelling, and the rest goes on", async () => {
      const before = atRoot.socket.opened;
      const received = createMergeableStore();
      for (const channel of ["org/org_2", "org%2Forg_2", "org/org%5F2", "ORG/org_2"]) {
        await assert.rejects(createWsSynchronizer(received, atRoot.socket.asWebSocket(), channel), /tinybase:4/, channel);
      }
      await assert.rejects(createWsSynchronizer(received, underOrg.socket.asWebSocket(), "org_2"), /tinybase:4/);
      assert.deepEqual(plain(received.getTables()), {});
      assert.equal(atRoot.socket.opened, before, "the socket was not closed for it");
      const eve = await multiplexed(world, withToken(world, EVE, ""), ["org/org_2"]);
      await waitFor("Eve to have her own row", () => only(eve.stores).hasRow("users", "x1"));
      bob.setCell("users", "u2", "age", 62);
      await waitFor("the edit to arrive", () => single.user("u2")?.age === 62);
      assert.ok(!only(eve.stores).hasRow("users", "u2"));
    });

    await step(t, "a synchronizer that is destroyed leaves its channel", async () => {
      const socket = new ReconnectingSocket(withToken(world, ADA, ""));
      world.onEnd(() => socket.closed());
      const left = createMergeableStore();
      const synchronizer = await createWsSynchronizer(left, socket.asWebSocket(), "org/org_1");
      await synchronizer.startSync();
      await untilEqual("the rows to be there", [left, bob]);
      await synchronizer.destroy();
      bob.setCell("users", "u2", "age", 72);
      await waitFor("the edit to arrive", () => single.user("u2")?.age === 72);
      assert.equal(left.getCell("users", "u2", "age"), 62);
    });
  });
});

const INSECURE_PEERS = (toml: string) =>
  toml.replace(/mode = "clerk"\njwt_key_file = .*\n/, 'mode = "insecure-dev"\n') + '\n[sync]\ntopology = "peer"\n';

test("unmapped paths are relayed between real clients of both modes", { timeout: 120_000 }, async (t) => {
  await withWorld({ config: INSECURE_PEERS }, async (world) => {
    const open = (target: string, protocols: string[]) => openWith(`${world.crossfade.syncUrl}${target}`, protocols);
    const shared = await multiplexed(world, async () => open("/rooms", ["tinybase"]), ["one", "two"]);
    const [one, two] = shared.stores as [MergeableStore, MergeableStore];
    const socket = new ReconnectingSocket(async () => open("/rooms/one", []));
    world.onEnd(() => socket.closed());
    const single = createMergeableStore();
    const synchronizer = await createWsSynchronizer(single, socket.asWebSocket());
    single.setCell("t", "r", "single", 1);
    one.setCell("t", "r", "one", 1);
    two.setCell("t", "r", "two", 1);

    await step(t, "what was there before meets, and edits go both ways", async () => {
      await synchronizer.startSync();
      await untilEqual("the contents to meet", [one, single]);
      single.setCell("t", "r", "single", 2);
      one.setCell("t", "r", "one", { any: ["JSON", "é😀"] });
      await untilEqual("the edits to meet", [one, single]);
      assert.deepEqual(plain(single.getRow("t", "r")), { single: 2, one: { any: ["JSON", "é😀"] } });
      assert.deepEqual(plain(two.getRow("t", "r")), { two: 1 });
    });

    await step(t, "a cut multiplexed socket comes back on both channels", async () => {
      const other = await multiplexed(world, async () => open("", ["tinybase"]), ["rooms/two"]);
      await untilEqual("the second room to meet", [two, only(other.stores)]);
      for (let round = 0; round < 5; round += 1) {
        const before = shared.socket.opened;
        shared.socket.cut();
        one.setCell("t", "r", "round", round);
        two.setCell("t", "r", "round", round);
        await waitFor("the socket to be open again", () => shared.socket.opened > before);
        await untilEqual("the first room to meet", [one, single]);
        await untilEqual("the second room to meet", [two, only(other.stores)]);
        assert.equal(single.getCell("t", "r", "round"), round);
      }
    });

    await step(t, "frames pass verbatim, to whom they are addressed", async () => {
      const alice = open("/rooms/raw", []);
      const bob = open("/rooms/raw", []);
      // Both at once: one that opens while the other is waited for would be waited for in vain.
      const [raw, peer] = await Promise.all([RawClient.connect(alice), RawClient.connect(bob)]);
      world.onEnd(() => raw.close());
      world.onEnd(() => peer.close());
      // A server may confirm a socket a moment before its path has it.
      await waitFor("the other", () => {
        raw.sendRaw(`${bob.clientId}\n["there?",1,""]`);
        return peer.received.length > 0;
      });
      const told = () => peer.received.filter((frame) => !frame.includes("there?"));
      raw.sendRaw(`${alice.clientId}\n["self",1,""]`);
      raw.sendRaw('\n [ "spaced" , 1 , "" ] ');
      raw.sendRaw(`${bob.clientId}\n["direct",1,""]`);
      await waitFor("two frames", () => told().length === 2);
      assert.deepEqual(told(), [`${alice.clientId}\n [ "spaced" , 1 , "" ] `, `${alice.clientId}\n["direct",1,""]`]);
      await waitFor("one frame", () => raw.received.length === 1);
      assert.deepEqual(raw.received, [`${alice.clientId}\n["self",1,""]`]);
    });

    await step(t, "a mapped path is no peers' path", async () => {
      const none = open("/org/org_1", []);
      await assert.rejects(RawClient.connect(none), /401/);
      const ada = await RawClient.connect(open("/org/org_1?user=user_ada&org=org_1&role=admin", []));
      const bob = await RawClient.connect(open("/org/org_1?user=user_bob&org=org_1&role=member", []));
      world.onEnd(() => ada.close());
      world.onEnd(() => bob.close());
      ada.sendRaw('\n["AAAAAAAAAAA.AAAA",1,""]');
      await waitFor("an answer", () => ada.received.some((frame) => frame.startsWith('S\n["AAAAAAAAAAA.AAAA",0,')));
      assert.deepEqual(bob.received.filter((frame) => !frame.startsWith("S\n")), []);
    });
  });
});
