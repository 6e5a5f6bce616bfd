import assert from "node:assert/strict";
import { test } from "node:test";
import { tempDirectory } from "../src/harness/cleanup.js";
import type { Crossfade } from "../src/harness/crossfade.js";
import { Sqld } from "../src/harness/sqld.js";
import { waitFor } from "../src/harness/wait.js";
import { ADA, step, withWorld, type World } from "../src/harness/world.js";
import { comesBack, fenced, follows, handsOver, killed, RESPONSE_TIMEOUT_MS, rolledBack, throughAFollower } from "../src/stories/cluster.js";

/** Runs `body` with a database server, and a world whose crossfade keeps everything there. */
async function overTheNetwork(processes: number | undefined, body: (world: World, sqld: Sqld) => Promise<void>): Promise<void> {
  const directory = tempDirectory("sqld");
  try {
    const sqld = await Sqld.start(directory.path);
    try {
      const config = (toml: string) => toml.replace(/^url = "file:.*crossfade\.db"$/m, `url = "${sqld.url}"`);
      await withWorld({ ...(processes === undefined ? {} : { processes }), responseTimeoutMs: RESPONSE_TIMEOUT_MS, config }, (world) => body(world, sqld));
    } finally {
      await sqld.stop();
    }
  } finally {
    await directory.remove();
  }
}

test("several processes on a database over the network: one has it, and one that was stopped writes nothing any more", { timeout: 300_000 }, async (t) => {
  await overTheNetwork(2, async (world) => {
    const cast = { world, first: world.crossfade, second: world.followers[0] as Crossfade };
    await world.fillStore();
    await world.flags.set({ cohortPercent: 100 });
    await world.crossfade.moveTo("live");
    await step(t, "the second one follows the first", () => follows(cast));
    await step(t, "through a follower the store answers, writes reach both sides, and clients sync", () => throughAFollower(cast));
    await step(t, "a rollback thrown at the follower holds in both, and so does its lifting", () => rolledBack(cast));
    await step(t, "kill -9 of the holder amid edits: the follower takes over, and every acknowledged write is there", () => killed(cast));
    await step(t, "the killed one comes back and follows", () => comesBack(cast));
    await step(t, "a holder that ends politely hands over", () => handsOver(cast));
    await cast.second.restart();
    await step(t, "a holder that was stopped for long follows its successor", () => fenced(cast));
  });
});

test("alone on a database over the network: a second process is refused, and an outage of the database leaves legacy's users alone", { timeout: 120_000 }, async (t) => {
  await overTheNetwork(undefined, async (world, sqld) => {
    await world.fillStore();
    await step(t, "a second one does not start", async () => {
      const { code, stderr } = await world.crossfade.failToServe((toml) => toml.replaceAll(/^listen = "127.0.0.1:\d+"$/gm, `listen = "127.0.0.1:0"`));
      assert.equal(code, 3, stderr);
      assert.match(stderr, /in use by another crossfade process/);
    });
    await step(t, "without its database it passes legacy's answers on, and syncs again afterwards", async () => {
      const rest = world.restClient(ADA);
      await sqld.kill();
      assert.equal((await rest.update("u1", { name: "Ada, in the outage" })).origin, "legacy");
      assert.equal((await rest.get("u1")).body.name, "Ada, in the outage");
      await sqld.restart();
      await waitFor("the database to be heard of again", async () => (await world.crossfade.outbox()).pending === 0);
      const client = await world.syncClient(ADA);
      await waitFor("the store to have what it missed", () => client.user("u1")?.name === "Ada, in the outage");
    });
  });
});
