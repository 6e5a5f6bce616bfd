// The whole comparison, short: that everything is measured on every side. Nothing here is about time.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "node:test";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const BINARY = process.env.CROSSFADE_BIN ?? fileURLToPath(new URL("../../../target/debug/crossfade", import.meta.url));
/** Against hanging only. */
const DEADLINE_MS = 600_000;

/** @param {string[]} args */
async function bench(...args) {
  assert.ok(existsSync(BINARY), `no crossfade at ${BINARY}: build it (cargo build), or set CROSSFADE_BIN`);
  const command = ["bench", ...args, "--peer", "--quick", "--format", "json", "--package", PACKAGE];
  const { stdout } = await promisify(execFile)(BINARY, command, { timeout: DEADLINE_MS, maxBuffer: 1 << 24 });
  const document = JSON.parse(stdout);
  assert.equal(document.version, 1);
  assert.equal(document.quick, true);
  return document;
}

/** Case, figure and side of each figure. @param {any} document */
const measured = (document) =>
  new Set(document.figures.map((/** @type {any} */ f) => `${f.case} | ${f.name} | ${f.side}`));

test("store: every job on both sides", async () => {
  const document = await bench("store");
  const found = measured(document);
  for (const side of ["node", "crossfade"]) {
    for (const figure of [
      "merge of 1800 cells, from text | cpu time",
      "merge of 1800 cells, parsed before | cpu time",
      "one edit in 100 rows | cpu time",
      "one edit in 300 rows | cpu time",
      "first query, of 300 rows | cpu time",
      "one edit and its query, of 300 rows | cpu time",
      "sorted page of 100, of 300 rows | cpu time",
      "a store of 300 rows | bytes per row",
    ]) {
      assert.ok(found.has(`${figure} | ${side}`), `${figure} of ${side} is missing in ${[...found].join("\n")}`);
    }
  }
});

test("sync: every case on every side", async () => {
  const document = await bench("sync", "--paths", "2", "--clients", "3", "--rate", "20");
  const found = measured(document);
  const keeping = ["node_file", "crossfade_committed"];
  const all = ["node_relay", "crossfade_relay", ...keeping, "crossfade_relaxed"];
  const expected = {
    "20 edits/s | cpu per 1000 relays": all,
    "20 edits/s | edit to visible p99": all,
    "idle connections | memory per connection": all,
    "first sync of 100 rows | first client has all": keeping,
    "first sync of 200 rows | second client has all": keeping,
  };
  for (const [figure, sides] of Object.entries(expected)) {
    for (const side of sides) {
      const about = `${figure} of ${side} is missing: ${[...found, ...document.notes].join("\n")}`;
      assert.ok(found.has(`${figure} | ${side}`), about);
    }
  }
  for (const figure of document.figures.filter((/** @type {any} */ f) => f.name === "delivered" && f.case === "20 edits/s")) {
    // How much arrives before the run gives up waiting is a question of time, which no test asks.
    assert.ok(figure.value > 0 && figure.value <= 1, `${figure.side} delivered ${figure.value}`);
  }
});
