import { test } from "node:test";
import { FlagsFile } from "../src/harness/flags.js";
import { dualRun } from "../src/stories/dual-run.js";

test("a dual run with flags from a file", { timeout: 240_000 }, async (t) => {
  await dualRun(t, (directory) => FlagsFile.create(directory));
});
