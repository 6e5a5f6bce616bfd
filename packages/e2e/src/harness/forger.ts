import { getHlcFunctions } from "tinybase";
import { MESSAGE, type RawClient } from "./raw-client.js";
import type { SentMessage, SyncClient } from "./sync-client.js";

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
    this.#raw.send(victim.clientId, "forged-----", MESSAGE.contentDiff, [this.#tables("name", name), [{}], 1]);
  }

  /** Answers one of the victim's requests in the server's place: to the victim, to the server, to everybody. */
  answer(victim: SyncClient, sent: SentMessage, name: string): void {
    const body = this.#answerTo(sent.message, name);
    if (body === undefined || sent.requestId === null) return;
    for (const to of [victim.clientId, "S", ""]) this.#raw.send(to, sent.requestId, MESSAGE.response, body);
  }

  /** What any client may do: tell everybody of an edit. */
  editHonestly(cell: string, value: unknown): void {
    this.#raw.send("", "honest-----", MESSAGE.contentDiff, [this.#tables(cell, value), [{}], 1]);
  }

  #answerTo(message: number, name: string): unknown {
    switch (message) {
      case MESSAGE.getContentHashes:
        return [1, 0]; // a tables hash that nobody has, so that the victim asks on; no values
      case MESSAGE.getTableDiff:
      case MESSAGE.getRowDiff:
        return [this.#tables("name", name), {}];
      case MESSAGE.getCellDiff:
        return this.#tables("name", name);
      default:
        return undefined;
    }
  }

  /** A tables stamp with one cell of row u1, newer than whatever is there. */
  #tables(cell: string, value: unknown): unknown {
    return [{ users: [{ u1: [{ [cell]: [value, this.#nextHlc()] }] }] }];
  }
}
