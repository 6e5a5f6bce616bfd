// TinyBase's share of `crossfade bench store --peer`: one job a line on standard input, one answer a line on
// standard output. crossfade's share takes the same jobs (`src/bench/store/worker.rs`). Ends with its input.
import { createInterface } from "node:readline";
import { createMergeableStore } from "tinybase";
import * as recipe from "./recipe.js";
import { belowFrames, overSocket } from "./synchronizer.js";

/** @typedef {{ op: string, rows: number, edits?: number }} Job */

const newStore = () => createMergeableStore("server", () => recipe.NOW_MS);
/** @param {import("tinybase").MergeableStore} store */
const hashesOf = (store) => {
  const [[, , tables], [, , values]] = store.getMergeableContent();
  return [tables, values];
};
/**
 * Wall time, and processor time of the whole process: garbage is collected in threads of its own, and is
 * part of what the work costs.
 * @param {() => void} work
 */
const timed = (work) => {
  const cpu = process.cpuUsage();
  const begun = process.hrtime.bigint();
  work();
  const ns = Number(process.hrtime.bigint() - begun);
  const { user, system } = process.cpuUsage(cpu);
  return { ns, cpu_ns: (user + system) * 1000 };
};

/** A full store that edits go to, kept between jobs of as many rows. */
let full = /** @type {{ rows: number, next: number, store: any, end: any } | undefined} */ (undefined);

/** @param {number} rows */
async function filled(rows) {
  if (full?.rows === rows) return full;
  full = undefined;
  globalThis.gc?.();
  const store = newStore();
  const end = await overSocket(store);
  for (const body of recipe.bodies(rows, recipe.ROWS_PER_SMALL_FRAME)) end.receive(recipe.frame(body));
  full = { rows, next: rows * recipe.CELLS_PER_ROW, store, end };
  return full;
}

/** @type {Record<string, (job: Job) => Promise<object>>} */
const jobs = {
  /** What the recipe makes. */
  digest: async ({ rows }) => ({ digest: recipe.digest(rows) }),

  /** Frames of text to a store that has their cells. */
  merge_text: async ({ rows }) => {
    const frames = [...recipe.bodies(rows)].map(recipe.frame);
    const store = newStore();
    const end = await overSocket(store);
    globalThis.gc?.();
    const times = timed(() => frames.forEach(end.receive));
    const hashes = hashesOf(store);
    await end.destroy();
    return { ...times, hashes };
  },

  /** The same without text: the bodies are parsed already. */
  merge_parsed: async ({ rows }) => {
    const bodies = [...recipe.bodies(rows)];
    const store = newStore();
    const end = await belowFrames(store);
    globalThis.gc?.();
    const times = timed(() => bodies.forEach(end.receive));
    const hashes = hashesOf(store);
    await end.destroy();
    return { ...times, hashes };
  },

  /** Frames of one cell each, to a store of so many rows. */
  edit: async ({ rows, edits = 1 }) => {
    const kept = await filled(rows);
    const frames = Array.from({ length: edits }, (_, at) => {
      const n = kept.next + at;
      return recipe.frame(recipe.edit((n * 7919) % rows, n));
    });
    kept.next += edits;
    const times = timed(() => frames.forEach(kept.end.receive));
    return { ...times, taken: lastTaken(kept.store, edits, rows, kept.next) };
  },

  /** Bytes held by a store of so many rows; to be asked of a new process. */
  memory: async ({ rows }) => {
    const held = () => {
      globalThis.gc?.();
      const { heapUsed, external, rss } = process.memoryUsage();
      return { held: heapUsed + external, rss };
    };
    // Code is loaded and compiled before.
    await jobs.merge_text?.({ op: "merge_text", rows: 10 });
    const before = held();
    const kept = await filled(rows);
    const after = held();
    return { bytes: after.held - before.held, rss_bytes: after.rss - before.rss, hashes: hashesOf(kept.store) };
  },

  /** Lets go of what is kept. */
  drop: async () => {
    await full?.end.destroy();
    full = undefined;
    globalThis.gc?.();
    return {};
  },
};

/**
 * Whether the last edit was taken; the hashes of a large store cost too much to ask for.
 * @param {import("tinybase").MergeableStore} store @param {number} edits @param {number} rows @param {number} next
 */
function lastTaken(store, edits, rows, next) {
  const n = next - 1;
  return edits === 0 || store.getCell(recipe.TABLE, recipe.rowId((n * 7919) % rows), "name") === `Edited ${n}`;
}

for await (const line of createInterface({ input: process.stdin })) {
  const job = /** @type {Job} */ (JSON.parse(line));
  const run = jobs[job.op];
  const answer = run === undefined ? { error: `no job ${job.op}` } : await run(job);
  console.log(JSON.stringify(answer));
}
process.exit(0);
