import { test } from "node:test";
import type { Crossfade } from "../src/harness/crossfade.js";
import { step, withWorld } from "../src/harness/world.js";
import { comesBack, follows, handsOver, killed, RESPONSE_TIMEOUT_MS, rolledBack, stopped, throughAFollower } from "../src/stories/cluster.js";

test("several processes on one database: one holds it, the others follow, take over, and lose nothing", { timeout: 240_000 }, async (t) => {
  await withWorld({ processes: 2, responseTimeoutMs: RESPONSE_TIMEOUT_MS }, async (world) => {
    const cast = { world, first: world.crossfade, second: world.followers[0] as Crossfade };
    await world.fillStore();
    await world.flags.set({ cohortPercent: 100 });
    await world.crossfade.moveTo("live");
    await step(t, "the second one follows the first", () => follows(cast));
    await step(t, "through a follower the store answers, writes reach both sides, and clients sync", () => throughAFollower(cast));
    await step(t, "a rollback thrown at the follower holds in both, and so does its lifting", () => rolledBack(cast));
    await step(t, "a holder that is stopped takes nobody along: legacy answers, and the store is mended", () => stopped(cast));
    await step(t, "kill -9 of the holder amid edits: the follower takes over, and every acknowledged write is there", () => killed(cast));
    await step(t, "the killed one comes back and follows", () => comesBack(cast));
    await step(t, "a holder that ends politely hands over", () => handsOver(cast));
  });
});
