// The store benchmark's data: the same as `src/bench/recipe.rs` makes, byte for byte. A run compares
// the digests of both before it measures anything.
import { createHash } from "node:crypto";
import { getHlcFunctions } from "tinybase";

/** The time in every stamp; the store's clock stands still here too. */
export const NOW_MS = 1_763_800_000_000;
export const TABLE = "users";
export const CELLS_PER_ROW = 6;
/** Rows of one frame: about 300 bytes each, so that a frame stays far below TinyBase's 16 MiB. */
export const ROWS_PER_FRAME = 10_000;
/** Rows of one frame where memory is measured: reading it takes little beside what the store keeps. */
export const ROWS_PER_SMALL_FRAME = 1_000;
/** How TinyBase marks a cell that holds JSON. */
const JSON_MARK = "\uFFFD";

const [, , encodeHlc] = getHlcFunctions("writer", () => NOW_MS);

/** The stamp of the n-th write. @param {number} n */
export const hlc = (n) => encodeHlc(NOW_MS, n);

/** @param {number} row */
export const rowId = (row) => `user_${String(row).padStart(8, "0")}`;

/** The mergeable changes of rows `from` to `to` (without it). @param {number} from @param {number} to */
export function changes(from, to) {
  /** @type {Record<string, [Record<string, [string | number | boolean, string]>]>} */
  const rows = {};
  for (let row = from; row < to; row++) {
    const at = row * CELLS_PER_ROW;
    rows[rowId(row)] = [
      {
        name: [`User Number ${row}`, hlc(at)],
        email: [`user${row}@example.com`, hlc(at + 1)],
        role: ["member", hlc(at + 2)],
        active: [row % 3 === 0, hlc(at + 3)],
        score: [row / 7, hlc(at + 4)],
        tags: [`${JSON_MARK}["a","b"]`, hlc(at + 5)],
      },
    ];
  }
  return [[{ [TABLE]: [rows] }], [{}], 1];
}

/** One edit of one cell, the n-th write. @param {number} row @param {number} n */
export const edit = (row, n) => [[{ [TABLE]: [{ [rowId(row)]: [{ name: [`Edited ${n}`, hlc(n)] }] }] }], [{}], 1];

/** A ContentDiff from another client, as it comes out of the socket. @param {unknown} body */
export const frame = (body) => `S\n["abcdefghijk",3,${JSON.stringify(body)}]`;

/** The bodies of all frames of so many rows. @param {number} rows @param {number} perFrame */
export function* bodies(rows, perFrame = ROWS_PER_FRAME) {
  for (let from = 0; from < rows; from += perFrame) yield changes(from, Math.min(from + perFrame, rows));
}

/** Of all frames, in order. @param {number} rows */
export function digest(rows) {
  const hash = createHash("sha256");
  for (const body of bodies(rows)) hash.update(frame(body));
  return hash.digest("hex");
}
