/** What ids and cells are made of: plain ones, and all the odd ones that have ever broken somebody's store. */

import { JSON_MARK, type Json, objectOf, UNDEFINED } from './json.js';
import type { Random } from './random.js';

const PLAIN_IDS = ['t', 'pets', 'users', 'r1', 'r2', 'a', 'b', 'c', 'name', 'x_1'] as const;

const ODD_IDS = [
  '',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '0',
  '1',
  '2',
  '10',
  '01',
  '-1',
  '1.5',
  '4294967294',
  '4294967295',
  '4294967296',
  'é',
  'e\u0301',
  '😀',
  '\uD83D',
  '\uDE00',
  '\uDE00\uD83D',
  'a\uD800b',
  '\uFFFF',
  UNDEFINED,
  JSON_MARK,
  `${JSON_MARK}{`,
  'a\nb',
  '"',
  '\\',
  '\u0000',
  '\u007F',
  '\u2028',
  ' ',
  'S',
  ':',
  'a:1',
  'long'.repeat(40),
] as const;

/** The words of one schedule: few ids, so that writers meet. */
export interface Words {
  readonly tables: readonly string[];
  readonly rows: readonly string[];
  readonly cells: readonly string[];
  readonly values: readonly string[];
  /** Whether cells may be objects and arrays; if so, no transaction is rolled back, see the README. */
  readonly json: boolean;
}

export const makeWords = (random: Random): Words => {
  const some = (): string[] => {
    const odd = random.some(ODD_IDS, random.below(4));
    return [...new Set([...random.some(PLAIN_IDS, random.between(1, 3)), ...odd])];
  };
  return { tables: some(), rows: some(), cells: some(), values: some(), json: random.oneIn(2) };
};

const NUMBERS = [
  0, -0, 1, -1, 2, 42, 0.1, 0.30000000000000004, 1.5, -2.25, 1e21, 123456789012345680000, 1e-7, 1.234e-10, 5e-324,
  1.7976931348623157e308, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 53), 2 ** 53 + 2, 4.35, 100, 1e100,
] as const;

const STRINGS = [
  '', 'a', 'b', 'Ada', '1', 'null', 'true', 'é', '😀', '\uD800', 'x\uDC00y', `x${UNDEFINED}`, `${UNDEFINED}x`,
  `x${JSON_MARK}`, '"\\/', '\u0000\u001F\u007F', '\b\t\n\f\r', '\u2028\u2029', '{"a":1}', 'S\n', '__proto__',
] as const;

/** Strings with a meaning of their own: TinyBase refuses to set them. */
const RESERVED = [UNDEFINED, JSON_MARK, `${JSON_MARK}{"a":1}`, `${JSON_MARK}x`] as const;

const KEYS = ['a', 'b', '', '1', '0', '10', '__proto__', 'é', '\uD800', UNDEFINED] as const;

/** Something to put into a cell or value through the Store API. */
export const makeCell = (random: Random, { json }: Words): Json => {
  switch (random.weighted({ string: 6, number: 6, small: 6, bool: 3, null: 2, json: json ? 4 : 0 })) {
    case 'string':
      return random.pick(STRINGS);
    case 'number':
      return random.pick(NUMBERS);
    case 'small':
      return random.oneIn(4) ? random.next() / 2 ** random.below(60) : random.below(4);
    case 'bool':
      return random.oneIn(2);
    case 'null':
      return null;
    case 'json':
      return makeTree(random, 2);
  }
};

/** The same, seldom one that TinyBase refuses. */
export const makeAnyCell = (random: Random, words: Words): Json =>
  random.oneIn(40) ? random.pick(RESERVED) : makeCell(random, words);

/** A cell that arrives as it is, not encoded: its objects hold no U+FFFC, which TinyBase would take for undefined there too. */
export const makeBareCell = (random: Random, words: Words): Json => {
  const cell = makeCell(random, words);
  return typeof cell === 'object' && JSON.stringify(cell).includes(UNDEFINED) ? [] : cell;
};

const makeTree = (random: Random, depth: number): Json => {
  const child = (): Json => (depth > 0 && random.oneIn(2) ? makeTree(random, depth - 1) : makeLeaf(random));
  return random.oneIn(2)
    ? Array.from({ length: random.below(4) }, child)
    : objectOf(random.some(KEYS, random.below(4)).map((key) => [key, child()]));
};

const makeLeaf = (random: Random): Json =>
  random.pick<Json>([null, true, false, random.pick(NUMBERS), random.pick(STRINGS), ...RESERVED]);
