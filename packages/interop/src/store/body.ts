/** Changes made by hand: what no TinyBase 10 writes, but others may, and what has to be refused. */

import { JSON_MARK, type Json, objectOf, UNDEFINED } from '../json.js';
import type { Random } from '../random.js';
import { type Words, makeBareCell } from '../words.js';

const ALPHABET = '-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz';

/**
 * `[tablesStamp, valuesStamp, 1]`; undefined is U+FFFC. `unreadable` cells are marked as JSON but are none: TinyBase takes,
 * hashes and hands on their stamps, but leaves what the application reads as it was.
 */
export const makeBody = (random: Random, words: Words, now: number, unreadable = false): Json => {
  const broken = random.oneIn(10);
  const hlc = (ofContainer: boolean): string => makeHlc(random, now, ofContainer, broken);
  const stamp = (thing: Json, ofContainer: boolean): Json => {
    const text = hlc(ofContainer);
    if (random.oneIn(30)) return [thing, text, random.next()];
    return text === '' && random.oneIn(2) ? [thing] : [thing, text];
  };
  const container = (all: readonly string[], child: () => Json): Json =>
    stamp(objectOf(random.some(all, random.oneIn(12) ? 0 : random.between(1, 3)).map((id) => [id, child()])), true);
  const thing = (): Json => stamp(makeThing(random, words, unreadable), false);
  const tables = container(words.tables, () => container(words.rows, () => container(words.cells, thing)));
  return [tables, container(words.values, thing), ...(random.oneIn(20) ? [] : [broken && random.oneIn(3) ? 2 : 1])];
};

const makeThing = (random: Random, words: Words, unreadable: boolean): Json => {
  const weights = { cell: 10, deleted: 4, encoded: words.json ? 3 : 0, unreadable: unreadable ? 8 : 0 };
  switch (random.weighted(weights)) {
    case 'cell':
      return makeBareCell(random, words);
    case 'deleted':
      return UNDEFINED;
    case 'encoded':
      return JSON_MARK + JSON.stringify(random.pick<Json>([{ a: 1, 0: 2 }, [], [null, 'é'], {}]));
    case 'unreadable':
      return `${JSON_MARK}{no json`;
  }
};

const makeHlc = (random: Random, now: number, ofContainer: boolean, broken: boolean): string => {
  if (broken && random.oneIn(6)) return random.pick(['x', `${'-'.repeat(15)}!`, '-'.repeat(17)]);
  if (random.oneIn(ofContainer ? 2 : 8)) return '';
  const time = now + random.pick([0, 0, -1, 1, 500, -500_000, 100_000, 299_000, ...(broken ? [700_000] : [])]);
  const client = random.some([...ALPHABET], 5).join('');
  return digits(time, 7) + digits(random.pick([0, 0, 1, 2, 63, 64, 2 ** 24 - 1]), 4) + client;
};

const digits = (number: number, length: number): string =>
  Array.from({ length }, (_, at) => ALPHABET[Math.floor(number / 64 ** (length - 1 - at)) % 64]).join('');
