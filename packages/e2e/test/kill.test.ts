import assert from "node:assert/strict";
import { test } from "node:test";
import { EditStream } from "../src/harness/edit-stream.js";
import { equal } from "../src/harness/equal.js";
import type { NewUser } from "../src/harness/legacy-api.js";
import type { SyncClient } from "../src/harness/sync-client.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, BOB, step, withWorld, type World } from "../src/harness/world.js";

const ROWS_EACH = 8;
/** Edits of each stream that the other client has received when the server is killed. */
const RECEIVED_BEFORE_KILL = 60;

const rowsOf = (label: string) => Array.from({ length: ROWS_EACH }, (_, n) => `${label}${n}`);
const SEED: NewUser[] = [...rowsOf("a"), ...rowsOf("b")].map((id) => ({ id, email: `${id}@example.test`, name: id }));

test("kill -9 during a stream of edits loses nothing that was acknowledged", { timeout: 240_000 }, async (t) => {
  await withWorld({ seed: SEED }, async (world) => {
    await world.fillStore();
    const ada = await world.syncClient(ADA);
    const bob = await world.syncClient(BOB);
    const streams = [
      new EditStream(ada, "a", ADA.orgId, rowsOf("a")),
      new EditStream(bob, "b", BOB.orgId, rowsOf("b")),
    ] as const;
    const [fromAda, fromBob] = streams;
    const receivedFrom = new Map([
      [fromAda, fromAda.receivedBy(bob)],
      [fromBob, fromBob.receivedBy(ada)],
    ]);
    world.onEnd(() => stopAll(streams));
    const clients = [ada, bob];

    await step(t, "the clients reconnect by themselves and converge", async () => {
      await killDuring(world, streams, receivedFrom);
      await waitFor("both clients to notice", () => !ada.connected && !bob.connected);
      const offline = streams.map(({ count }) => count);
      await waitFor("edits while nobody is connected", () => streams.every(({ count }, n) => count > (offline[n] ?? 0) + 5));
      await world.crossfade.restart();
      for (const client of clients) await client.untilConnected();
      await stopAll(streams);
      await untilConverged(clients, streams);
    });

    await step(t, "a new client gets from the server alone what was acknowledged before the kill", async () => {
      await killDuring(world, streams, receivedFrom);
      // Nobody who could bring it back is there; what they had received by now was acknowledged.
      for (const client of clients) await client.disconnect();
      await stopAll(streams);
      await world.crossfade.restart();
      const newcomer = await world.syncClient(ADA);
      for (const [stream, received] of receivedFrom) {
        assert.ok(received.size > ROWS_EACH / 2);
        for (const [row, number] of received) {
          const present = stream.numberAt(newcomer, row);
          assert.ok(present !== undefined && present >= number, `${row}: acknowledged ${number}, stored ${present}`);
        }
      }
      for (const client of clients) await client.connect();
      clients.push(newcomer);
      await untilConverged(clients, streams);
    });

    await step(t, "legacy receives every edit, once the outbox is empty", async () => {
      await waitFor("the outbox to be empty", async () => (await world.crossfade.outbox()).pending === 0);
      let legacy: unknown;
      await waitFor(
        "legacy and the clients to agree",
        async () => {
          const rows = await world.legacy.rows(ADA);
          legacy = rows;
          return clients.every((client) => equal(client.users(), rows));
        },
        () => ({ legacy, ada: ada.users() }),
      );
    });
  });
});

/** Starts the streams and kills the server in their midst. */
async function killDuring(
  world: World,
  streams: readonly EditStream[],
  receivedFrom: ReadonlyMap<EditStream, ReadonlyMap<string, number>>,
): Promise<void> {
  const base = new Map(streams.map((stream) => [stream, stream.count]));
  for (const stream of streams) stream.start();
  const greatest = (stream: EditStream) => Math.max(0, ...(receivedFrom.get(stream)?.values() ?? []));
  await waitFor(
    "edits of both streams to reach the other client",
    () => streams.every((stream) => greatest(stream) >= (base.get(stream) ?? 0) + RECEIVED_BEFORE_KILL),
    () => streams.map((stream) => [stream.label, stream.count, greatest(stream)]),
  );
  await world.crossfade.kill();
}

async function stopAll(streams: readonly EditStream[]): Promise<void> {
  for (const stream of streams) await stream.stop();
}

/** Every client holds every edit ever made, and equal content down to stamps and hashes. */
async function untilConverged(clients: readonly SyncClient[], streams: readonly EditStream[]): Promise<void> {
  await waitFor(
    "all clients to hold all edits",
    () =>
      clients.every((client) =>
        streams.every((stream) => [...stream.written].every(([row, number]) => stream.numberAt(client, row) === number)),
      ),
    () => clients.map((client) => streams.map((stream) => [...stream.written].filter(([row, number]) => stream.numberAt(client, row) !== number))),
  );
  const [first, ...others] = clients;
  await waitFor("equal content", () =>
    others.every((other) => equal(other.store.getMergeableContent(), first?.store.getMergeableContent())),
  );
}
