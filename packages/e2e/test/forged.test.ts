import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createWsServer } from "tinybase/synchronizers/synchronizer-ws-server";
import { WebSocketServer } from "ws";
import { Disposer } from "../src/harness/cleanup.js";
import { Forger } from "../src/harness/forger.js";
import { RawClient } from "../src/harness/raw-client.js";
import { SyncClient } from "../src/harness/sync-client.js";
import { openPlainSocket } from "../src/harness/sync-session.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, withWorld } from "../src/harness/world.js";

const DIRECTED = "FORGED BY A DIRECTED FRAME";
const ANSWERED = "FORGED BY AN ANSWER";

test("a forged cell reaches nobody through crossfade", { timeout: 120_000 }, async () => {
  await withWorld({}, async (world) => {
    await world.fillStore();
    const raw = await RawClient.connect(await world.openSync(BOB));
    world.onEnd(() => raw.close());
    const forger = new Forger(raw);
    let answers = 0;
    let attacking = false;
    const victim = await world.syncClient(ADA, {
      onSend: (sent) => {
        if (!attacking) return;
        answers += 1;
        forger.answer(victim, sent, ANSWERED);
      },
    });
    const witness = await world.syncClient(ADA);
    const honest = await waitFor("the row to be there", () => victim.user("u1"));

    forger.pushTo(victim, DIRECTED);
    // A returning client asks for hashes and differences; each of its requests gets a forged answer too.
    attacking = true;
    await victim.disconnect();
    victim.edit("u2", "age", 50);
    await victim.connect();
    attacking = false;
    assert.ok(answers > 0, "the victim made requests that could be answered");

    // The server reads a socket in order: with this edit there, all that was forged has been dealt with.
    assert.ok(raw.connected, "senseless frames do not end a connection");
    forger.editHonestly("age", 77);
    for (const client of [victim, witness]) {
      await waitFor("an honest edit of the same client to arrive", () => client.user("u1")?.age === 77, () => client.user("u1"));
    }
    const edited = await waitFor("the honest edit to be in legacy", async () => {
      const row = await world.legacy.row(ADA, "u1");
      return row?.age === 77 ? row : undefined;
    });
    const newcomer = await world.syncClient(ADA);
    assert.equal(edited.name, honest.name);
    for (const client of [victim, witness, newcomer]) {
      assert.equal(client.user("u1")?.name, honest.name);
      assert.deepEqual(client.received.filter((frame) => /FORGED/.test(frame)), []);
      // A star: whatever a client receives comes from the server itself.
      assert.deepEqual(client.received.filter((frame) => !frame.startsWith("S\n")), []);
    }
  });
});

// Without this, the test above could pass because the forger is clumsy.
test("the same forger succeeds where frames are relayed", { timeout: 60_000 }, async () => {
  const cleanup = new Disposer();
  try {
    const sockets = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    const server = createWsServer(sockets);
    cleanup.add(() => server.destroy());
    await once(sockets, "listening");
    const url = `ws://127.0.0.1:${(sockets.address() as AddressInfo).port}/room`;

    const raw = await RawClient.connect(openPlainSocket(url));
    cleanup.add(() => raw.close());
    const forger = new Forger(raw);
    let attacking = false;
    const victim = new SyncClient({
      open: async () => openPlainSocket(url),
      onSend: (sent) => {
        if (attacking) forger.answer(victim, sent, ANSWERED);
      },
    });
    cleanup.add(() => victim.disconnect());
    await victim.connect();
    victim.edit("u1", "name", "Ada");

    forger.pushTo(victim, DIRECTED);
    await waitFor("the directed frame to be believed", () => victim.user("u1")?.name === DIRECTED);
    await victim.disconnect();
    attacking = true;
    await victim.connect();
    await waitFor("the answer to be believed", () => victim.user("u1")?.name === ANSWERED);
  } finally {
    await cleanup.dispose();
  }
});
