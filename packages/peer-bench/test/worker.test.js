import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

const WORKER = fileURLToPath(new URL("../src/store-worker.js", import.meta.url));

/** The worker's answers to these jobs. @param {object[]} jobs */
async function answers(jobs) {
  const worker = spawn(process.execPath, ["--expose-gc", WORKER], { stdio: ["pipe", "pipe", "inherit"] });
  let text = "";
  worker.stdout.on("data", (data) => (text += data));
  worker.stdin.end(jobs.map((job) => `${JSON.stringify(job)}\n`).join(""));
  const [code] = await once(worker, "close");
  assert.equal(code, 0);
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

test("each job is answered, and both merges come to the same", async () => {
  const [text, parsed, edit, first, update, page, memory, dropped, unknown, ...more] = await answers([
    { op: "merge_text", rows: 50 },
    { op: "merge_parsed", rows: 50 },
    { op: "edit", rows: 50, edits: 7 },
    { op: "query_first", rows: 50 },
    { op: "query_update", rows: 50, edits: 7 },
    { op: "sorted_page", rows: 50, pages: 3 },
    { op: "memory", rows: 50 },
    { op: "drop", rows: 0 },
    { op: "dance", rows: 0 },
  ]);
  assert.notDeepEqual(text.hashes, [0, 0]);
  assert.deepEqual(parsed.hashes, text.hashes);
  assert.ok(text.ns > 0);
  assert.equal(edit.taken, true);
  assert.equal(first.result_rows, 17);
  assert.equal(update.taken, true);
  assert.equal(page.page.length, 12);
  assert.equal(typeof memory.bytes, "number");
  assert.equal(dropped.error, undefined);
  assert.equal(typeof unknown.error, "string");
  assert.deepEqual(more, []);
});
