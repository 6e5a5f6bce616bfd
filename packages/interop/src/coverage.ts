/** What the edits of a schedule write: which methods, cells of which types, ids of which sorts. */

import type { Counts } from './counts.js';
import type { Json } from './json.js';
import type { Schedule } from './schedule.js';
import type { Op } from './store/schedule.js';

type Things = { [id: string]: Json };

const METHODS = [
  'setCell', 'setRow', 'setPartialRow', 'setTable', 'delCell', 'delRow', 'delTable', 'delTables',
  'setValue', 'setValues', 'setPartialValues', 'delValue', 'delValues',
] as const;

const TYPES = ['string', 'number', 'boolean', 'null', 'object', 'array'] as const;

/** By name, whether an id is of this sort; an id can be of several. */
const SORTS: Readonly<Record<string, (id: string) => boolean>> = {
  empty: (id) => id === '',
  'beyond ASCII': (id) => /[^\0-\x7F]/.test(id),
  'with a lone surrogate': (id) => /\p{Surrogate}/u.test(id),
  "a name of Object's prototype": (id) => id in Object.prototype,
  'an array index': (id) => /^(0|[1-9]\d*)$/.test(id) && Number(id) < 2 ** 32 - 1,
};

/** Everything that {@link countContent} can count. */
export const CONTENT: readonly string[] = ['store', 'net'].flatMap((kind) => [
  ...METHODS.map((method) => `${kind}: ${method}`),
  ...['cell', 'value'].flatMap((what) => TYPES.map((type) => `${kind}: ${what} written, ${type}`)),
  ...Object.keys(SORTS).flatMap((sort) => [`${kind}: id in an edit, ${sort}`, `${kind}: unique id, ${sort}`]),
]);

/** Counts what the schedule's edits write, and who writes it. */
export const countContent = (schedule: Schedule, counts: Counts): void => {
  const { kind } = schedule;
  const writers = schedule.kind === 'store' ? schedule.stores : schedule.clients;
  for (const { uniqueId } of writers) countId(uniqueId, `${kind}: unique id`, counts);
  for (const step of schedule.steps) {
    if ('ops' in step) for (const op of step.ops) countOp(op, kind, counts);
  }
};

const countOp = ([method, ...args]: Op, kind: string, counts: Counts): void => {
  counts.add(`${kind}: ${method}`);
  const { ids, cells, values } = partsOf(method, args);
  for (const id of ids) countId(id, `${kind}: id in an edit`, counts);
  for (const cell of cells) counts.add(`${kind}: cell written, ${typeOf(cell)}`);
  for (const value of values) counts.add(`${kind}: value written, ${typeOf(value)}`);
};

const countId = (id: string, what: string, counts: Counts): void => {
  for (const [sort, isOf] of Object.entries(SORTS)) if (isOf(id)) counts.add(`${what}, ${sort}`);
};

interface Parts {
  ids: string[];
  cells: Json[];
  values: Json[];
}

const partsOf = (method: string, args: readonly Json[]): Parts => {
  const last = args.at(-1) ?? null;
  const texts = args.filter((arg, at) => typeof arg === 'string' && (at < args.length - 1 || method.startsWith('del'))) as string[];
  switch (method) {
    case 'setCell':
      return { ids: texts, cells: [last], values: [] };
    case 'setRow':
    case 'setPartialRow':
      return { ids: [...texts, ...Object.keys(last as Things)], cells: Object.values(last as Things), values: [] };
    case 'setTable': {
      const rows = Object.entries(last as { [row: string]: Things });
      const ids = rows.flatMap(([row, cells]) => [row, ...Object.keys(cells)]);
      return { ids: [...texts, ...ids], cells: rows.flatMap(([, cells]) => Object.values(cells)), values: [] };
    }
    case 'setValue':
      return { ids: texts, cells: [], values: [last] };
    case 'setValues':
    case 'setPartialValues':
      return { ids: Object.keys(last as Things), cells: [], values: Object.values(last as Things) };
    default:
      return { ids: texts, cells: [], values: [] };
  }
};

const typeOf = (cell: Json): string => {
  if (cell === null) return 'null';
  return Array.isArray(cell) ? 'array' : typeof cell;
};
