// Records random queries, and sorts of many rows of mixed types, from the npm package tinybase (packages/ must be installed):
//   node crates/tinyql/tests/vectors/record.mjs <seed> <cases> <folder>
// and compares another recording than the one kept here:
//   CROSSFADE_VECTORS=<folder> cargo test -p tinyql --test conformance
import {createStore} from '../../../../packages/node_modules/tinybase/store/index.js';
import {createQueries} from '../../../../packages/node_modules/tinybase/queries/index.js';
import fs from 'fs';
let seed = Number(process.argv[2] || 1), N = Number(process.argv[3] || 300);
const rnd = () => { seed = (seed + 0x6D2B79F5) | 0; let t = Math.imul(seed ^ seed >>> 15, 1 | seed); t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t; return ((t ^ t >>> 14) >>> 0) / 4294967296; };
const int = n => Math.floor(rnd() * n), pick = a => a[int(a.length)], chance = p => rnd() < p;
const num = () => pick([0, 1, 2, 3.5, 0.1, 2.2, -1, 7, 5]);
const cellv = c => c == 'n' || c == 'm' ? (chance(0.06) ? pick(['a', '5', null, true, '']) : num()) : c == 'k' ? pick(['x', 'y', null, true, 1, 'z', '1']) : c == 'to' ? (chance(0.06)? null : 'r' + int(5)) : c == 'to2' ? 'r' + int(5) : pick([[1], {a: 1}, 'q', 3, [1, [2]], null]);
const CELLS = ['n', 'm', 'k', 'to', 'to2', 'j'], TABLES = ['a', 'b', 'c'];
const rowOf = () => 'r' + int(6);
const row = () => { const o = {}; for (const c of CELLS) if (chance(0.6)) o[c] = cellv(c); if (!Object.keys(o).length) o.n = 1; return o; };
const ev = (e, get, rowId, param) => {
  if (!Array.isArray(e)) return e;
  const [op, ...a] = e, v = x => ev(x, get, rowId, param);
  switch (op) {
    case 'cell': return a.length == 1 ? get(a[0]) : get(a[0], a[1]);
    case 'rowId': return rowId; case 'lit': return a[0]; case 'param': return param(a[0]); case 'undef': return undefined;
    case 'eq': return v(a[0]) === v(a[1]);
    case 'gt': case 'ge': case 'lt': { const x = v(a[0]), y = v(a[1]); return typeof x == 'number' && typeof y == 'number' && (op == 'gt' ? x > y : op == 'ge' ? x >= y : x < y); }
    case 'add': case 'sub': case 'mul': { const x = v(a[0]), y = v(a[1]); return typeof x == 'number' && typeof y == 'number' ? (op == 'add' ? x + y : op == 'sub' ? x - y : x * y) : undefined; }
    case 'and': return a.every(x => v(x) === true); case 'or': return a.some(x => v(x) === true);
    case 'not': return v(a[0]) !== true; case 'has': return (a.length == 1 ? get(a[0]) : get(a[0], a[1])) !== undefined;
    case 'if': return v(a[0]) === true ? v(a[1]) : v(a[2]);
  }
  throw op;
};
const aliases = ['b', 'c', 'a2', 'nope', 'a'];
const ref = () => chance(0.6) ? ['cell', pick(CELLS)] : ['cell', pick(aliases), pick(CELLS)];
const cond = () => pick([() => ['gt', ref(), num()], () => ['has', pick(CELLS)], () => ['has', pick(aliases), pick(CELLS)], () => ['eq', ref(), ref()], () => ['not', ['eq', ref(), ['lit', cellv('k')]]], () => ['or', ['lt', ref(), ref()], ['has', pick(CELLS)]]])();
const sel = () => { let s = pick([() => ({cell: pick(CELLS)}), () => ({cell: pick(CELLS)}), () => ({table: pick(aliases), cell: pick(CELLS)}), () => ({fn: pick([ref(), ['add', ref(), ref()], ['mul', ref(), 2], ['if', cond(), ref(), ref()], ['rowId']])}), () => chance(0.4) ? ({all: true}) : ({cell: pick(CELLS)}), () => chance(0.5) ? ({all: true, table: pick(aliases), ...(chance(0.5) ? {prefix: 'p.'} : {})}) : ({cell: 'n'})])(); if (!s.all && chance(0.4)) s.as = pick(['s', 't', 'n', 'u', 'k']); return s; };
const name = (s, i) => s.as ?? s.cell ?? String(i);
const query = (id, from, isQuery) => {
  const q = {id, from, ...(isQuery ? {query: true} : {}), select: []};
  for (let i = 0; i < 1 + int(4); i++) q.select.push(sel());
  if (chance(0.6)) { q.join = []; for (let i = 0; i < 1 + int(3); i++) { const j = {table: pick(TABLES)}; if (chance(0.8)) j.on = pick(['to', 'to2']); else j.onFn = pick([['if', ['gt', ['cell', 'n'], 1], ['lit', 'r1'], ['cell', 'to']], ['rowId'], ['lit', 'r2']]); if (chance(0.4)) j.from = pick(['b', 'c', 'a2']); if (chance(0.4) || j.table == 'a') j.as = pick(['b', 'c', 'a2']); q.join.push(j); } }
  if (chance(0.5)) { q.where = []; for (let i = 0; i < 1 + int(2); i++) q.where.push(pick([() => ({fn: cond()}), () => ({cell: pick(CELLS), eq: cellv('k')}), () => ({table: pick(aliases), cell: pick(CELLS), eq: num()})])()); }
  if (chance(0.5)) { q.group = []; const names = q.select.filter(s => !s.all).map(name); for (let i = 0; i < 1 + int(3); i++) q.group.push({cell: names.length && chance(0.9) ? pick(names) : 'n', agg: pick(['count', 'sum', 'avg', 'min', 'max']), ...(chance(0.7) ? {as: pick(['g0', 'g1', 'g2', ...names])} : {})}); }
  if (chance(0.25)) { q.having = [pick([() => ({fn: ['gt', ['cell', pick(['g0', 'n', 'g1', 's'])], num()]}), () => ({fn: ['not', ['lt', ['cell', pick(['g0', 'n', 'g1', 's'])], num()]]}), () => ({cell: pick(['g0', 'n', 'k', 's']), eq: num()})])()]; }
  return q;
};
const define = (queries, q) => {
  const build = ({select, selectAll, where, join, group, having, param}) => {
    for (const s of q.select) {
      if (s.all) { s.table ? selectAll(s.table, s.prefix) : selectAll(); continue; }
      const r = s.fn ? select((get, rowId) => ev(s.fn, get, rowId, param)) : s.table ? select(s.table, s.cell) : select(s.cell);
      if (s.as) r.as(s.as);
    }
    for (const j of q.join ?? []) {
      const on = j.onFn ? (get, rowId) => ev(j.onFn, get, rowId, param) : j.on;
      const r = j.from ? join(j.table, j.from, on) : join(j.table, on);
      if (j.as) r.as(j.as);
    }
    for (const w of q.where ?? []) w.fn ? where(get => ev(w.fn, get, undefined, param) === true) : w.table ? where(w.table, w.cell, w.eq) : where(w.cell, w.eq);
    for (const g of q.group ?? []) { const r = group(g.cell, g.agg); if (g.as) r.as(g.as); }
    for (const h of q.having ?? []) h.fn ? having(get => ev(h.fn, get, undefined, param) === true) : having(h.cell, h.eq);
  };
  q.query ? queries.setQueryDefinition(q.id, true, q.from, build) : queries.setQueryDefinition(q.id, q.from, build);
};
const examine = (queries, id, sorts) => ({
  rowIds: queries.getResultRowIds(id), table: queries.getResultTable(id), cellIds: queries.getResultTableCellIds(id).sort(),
  sorts: sorts.map(s => ({...s, ids: queries.getResultSortedRowIds(id, s.cell, s.descending, s.offset, s.limit)})),
});
const op = () => pick([() => ['setCell', pick(TABLES), rowOf(), ...(c => [c, cellv(c)])(pick(CELLS))], () => ['setCell', 'a', rowOf(), ...(c => [c, cellv(c)])(pick(CELLS))], () => ['setRow', pick(TABLES), rowOf(), row()], () => ['delRow', pick(TABLES), rowOf()], () => ['delCell', pick(TABLES), rowOf(), pick(CELLS)]])();
const run = (store, o) => o[0] == 'transaction' ? store.transaction(() => o[1].forEach(x => run(store, x))) : store[o[0]](...o.slice(1));
const cases = [];
for (let i = 0; i < N; i++) {
  const tables = {}; for (const t of TABLES) { const n = int(7); if (n) { tables[t] = {}; for (let k = 0; k < n; k++) tables[t][rowOf()] = row(); } }
  const store = createStore(); for (const t in tables) store.setTable(t, tables[t]);
  const queries = createQueries(store);
  const qs = [query('q', 'a', false)]; if (chance(0.25)) { qs[0].id = 'base'; qs.push(query('q', 'base', true)); }
  qs.forEach(q => define(queries, q));
  const sorts = [{descending: false, offset: 0}, {cell: pick(['n', 'g0', 's', 'k']), descending: chance(0.5), offset: int(3), limit: 3}, {cell: pick(['n', 'g0', 's', 'j']), descending: false, offset: 0}];
  const c = {name: `fuzz ${process.argv[2]} #${i}`, tables, queries: qs, expect: examine(queries, 'q', sorts), steps: []};
  c.expect = JSON.parse(JSON.stringify(c.expect));
  for (let s = 0; s < 6; s++) {
    const ops = []; for (let k = 0; k < 1 + int(2); k++) { const o = chance(0.4) ? ['transaction', Array.from({length: 1 + int(5)}, op)] : op(); ops.push(o); }
    ops.forEach(o => run(store, o));
    c.steps.push(JSON.parse(JSON.stringify({ops, expect: examine(queries, 'q', sorts)})));
  }
  cases.push(c);
}
const sorting = [];
for (let i = 0; i < Math.ceil(N / 4); i++) {
  const n = pick([20, 63, 64, 65, 100, 200, 333]), store = createStore(), rows = [];
  for (let k = 0; k < n; k++) { const r = {z: 1}; if (chance(0.9)) r.k = pick([() => int(50), () => String(int(50)), () => pick(['a', 'b', '', 'zz']), () => null, () => [int(9)], () => ({})])(); rows.push(['r' + k, r]); store.setRow('t', 'r' + k, r); }
  const sorts = []; for (const descending of [false, true]) sorts.push({cell: 'k', descending, offset: 0, ids: store.getSortedRowIds('t', 'k', descending)});
  sorting.push({kind: 'fuzz', rows, sorts});
}
fs.mkdirSync(process.argv[4], {recursive: true});
fs.writeFileSync(process.argv[4] + '/queries.json', JSON.stringify({about: 'recorded by record.mjs from tinybase 10.0.1 on Node 20', seed: Number(process.argv[2]), cases, sorting}));
