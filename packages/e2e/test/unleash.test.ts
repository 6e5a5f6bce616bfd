import { test } from "node:test";
import { UnleashFlags } from "../src/harness/unleash.js";
import { dualRun } from "../src/stories/dual-run.js";

test("a dual run with flags from an Unleash server on PostgreSQL", { timeout: 360_000 }, async (t) => {
  await dualRun(t, () => UnleashFlags.start());
});
