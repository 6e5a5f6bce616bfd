import { getHlcFunctions } from "tinybase";
import { MESSAGE, parseFrame, type RawClient } from "./raw-client.js";
import type { SentMessage, SyncClient } from "./sync-client.js";
import { waitFor } from "./wait.js";

/** Cells of one row; undefined is a tombstone. */
export type ForgedCells = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** TinyBase's own sign for a tombstone. */
const UNDEFINED = "\uFFFC";

/** Ahead of every honest stamp, and less than any server should refuse as a skewed clock. */
const AHEAD_MS = 10_000;

/**
 * A client that knows more than it should (the others' ids and the requests they make) and uses it to get
 * a cell into another client's store without the server merging it.
 */
export class Forger {
  readonly #raw: RawClient;
  readonly #nextHlc = getHlcFunctions("forger", () => Date.now() + AHEAD_MS)[0];

  constructor(raw: RawClient) {
    this.#raw = raw;
  }

  /** Changes sent to the victim alone, past everybody's checks. */
  pushTo(victim: SyncClient, name: string): void {
    this.#raw.send(victim.clientId, "forged-----", MESSAGE.contentDiff, this.#diff("u1", { name }));
  }

  /** Answers one of the victim's requests in the server's place: to the victim, to the server, to everybody. */
  answer(victim: SyncClient, sent: SentMessage, name: string): void {
    const body = answerTo(sent.message, this.#tables("u1", { name }));
    if (body === undefined || sent.requestId === null) return;
    for (const to of [victim.clientId, "S", ""]) this.#raw.send(to, sent.requestId, MESSAGE.response, body);
  }

  /** What any client may do: tell everybody of an edit. */
  editHonestly(cell: string, value: string | number): void {
    this.#raw.send("", "honest-----", MESSAGE.contentDiff, this.#diff("u1", { [cell]: value }));
  }

  /** Changes of any row: to everybody, to the server, and to a victim. */
  push(row: string, cells: ForgedCells, victim: SyncClient): void {
    for (const to of ["", "S", victim.clientId]) {
      this.#raw.send(to, "forged-----", MESSAGE.contentDiff, this.#diff(row, cells));
    }
  }

  /** The same to everybody, in pieces. */
  pushInFragments(row: string, cells: ForgedCells, total: number): void {
    this.#raw.sendInFragments("", "forged-----", MESSAGE.contentDiff, this.#diff(row, cells), total);
  }

  /** Says that it has something else, and has the server ask for it, which gets these cells. Gives how often it asked. */
  async beAsked(row: string, cells: ForgedCells): Promise<number> {
    let answers = 0;
    this.#raw.onReceive = (frame) => {
      const { to, requestId, message } = parseFrame(frame);
      if (to !== "S" || typeof requestId !== "string" || typeof message !== "number") return;
      const body = answerTo(message, this.#tables(row, cells));
      if (body === undefined) return;
      answers += message === MESSAGE.getContentHashes ? 0 : 1;
      this.#raw.send("S", requestId, MESSAGE.response, body);
    };
    this.#raw.send("S", "hashes-----", MESSAGE.contentHashes, HASHES_OF_NOBODY);
    await waitFor("the server to ask for what it lacks", () => answers > 0);
    await this.#raw.untilHeard();
    this.#raw.onReceive = () => {};
    return answers;
  }

  #diff(row: string, cells: ForgedCells): unknown {
    return [this.#tables(row, cells), [{}], 1];
  }

  /** A tables stamp with cells of one row, newer than whatever is there. */
  #tables(row: string, cells: ForgedCells): unknown {
    const stamped = Object.entries(cells).map(([cell, value]) => [cell, [value === undefined ? UNDEFINED : value, this.#nextHlc()]]);
    return [{ users: [{ [row]: [Object.fromEntries(stamped)] }] }];
  }
}

/** A tables hash that nobody has, so that whoever hears it asks on; no values. */
const HASHES_OF_NOBODY = [1, 0];

function answerTo(message: number, tables: unknown): unknown {
  switch (message) {
    case MESSAGE.getContentHashes:
      return HASHES_OF_NOBODY;
    case MESSAGE.getTableDiff:
    case MESSAGE.getRowDiff:
      return [tables, {}];
    case MESSAGE.getCellDiff:
      return tables;
    default:
      return undefined;
  }
}
