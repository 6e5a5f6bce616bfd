/** Random edits through the Store API. */

import { type Json, objectOf } from './json.js';
import type { Random } from './random.js';
import type { Op } from './store/schedule.js';
import { makeAnyCell, makeBareCell, makeCell, type Words } from './words.js';

const METHODS = {
  setCell: 14,
  setRow: 4,
  setPartialRow: 4,
  setTable: 2,
  delCell: 5,
  delRow: 3,
  delTable: 1,
  delTables: 1,
  setValue: 6,
  setValues: 2,
  setPartialValues: 2,
  delValue: 3,
  delValues: 1,
} as const;

export const makeOps = (random: Random, words: Words): Op[] => {
  const length = random.oneIn(2) ? 1 : random.between(2, 5);
  return Array.from({ length }, () => makeOp(random, words));
};

const makeOp = (random: Random, words: Words): Op => {
  const table = random.pick(words.tables);
  const row = random.pick(words.rows);
  const cell = random.pick(words.cells);
  const value = random.pick(words.values);
  const method = random.weighted(METHODS);
  switch (method) {
    case 'setCell':
      return [method, table, row, cell, makeAnyCell(random, words)];
    case 'setRow':
    case 'setPartialRow':
      return [method, table, row, things(random, words, 'cells')];
    case 'setTable':
      return [method, table, makeTable(random, words)];
    case 'delCell':
      return [method, table, row, cell];
    case 'delRow':
      return [method, table, row];
    case 'delTable':
      return [method, table];
    case 'setValue':
      return [method, value, makeAnyCell(random, words)];
    case 'setValues':
    case 'setPartialValues':
      return [method, things(random, words, 'values')];
    case 'delValue':
      return [method, value];
    case 'delTables':
    case 'delValues':
      return [method];
  }
};

/** Cells or values; seldom none, which TinyBase ignores. */
const things = (random: Random, words: Words, what: 'cells' | 'values'): { [id: string]: Json } =>
  random.oneIn(30) ? {} : someThings(random, words, what);

const someThings = (random: Random, words: Words, what: 'cells' | 'values', make = makeCell): { [id: string]: Json } =>
  objectOf(random.some(words[what], random.between(1, 3)).map((id) => [id, make(random, words)]));

const makeTable = (random: Random, words: Words, make = makeCell): { [row: string]: Json } =>
  objectOf(random.some(words.rows, random.between(1, 3)).map((row) => [row, someThings(random, words, 'cells', make)]));

/** Plain `[tables, values]`. */
export const makeContent = (random: Random, words: Words): Json => [
  objectOf(random.some(words.tables, random.between(1, 2)).map((table) => [table, makeTable(random, words, makeBareCell)])),
  someThings(random, words, 'values', makeBareCell),
];
