/** Makes a failing schedule small, so that a person can read it. */

import type { Json } from './json.js';

interface Steps {
  steps: unknown[];
}

/** How many runs shrinking may take. */
const MAX_RUNS = 3_000;

/**
 * Takes away and simplifies what can go while `fails` still says so: first runs of steps, then parts of each step, then parts
 * of the rest. What is left fails too, and nothing tried could be taken from it.
 */
export const shrink = async <S extends Steps>(schedule: S, fails: (smaller: S) => Promise<boolean>): Promise<S> => {
  let best = schedule;
  let runs = 0;
  const attempt = async (smaller: S): Promise<boolean> => {
    if (runs++ >= MAX_RUNS || !(await fails(smaller))) return false;
    best = smaller;
    return true;
  };
  for (let size = 0; size !== sizeOf(best) && runs < MAX_RUNS; ) {
    size = sizeOf(best);
    await removeSteps(() => best, attempt);
    await simplify(() => best, attempt);
  }
  return best;
};

type Attempt<S> = (smaller: S) => Promise<boolean>;

const sizeOf = (schedule: Steps): number => JSON.stringify(schedule).length;

const removeSteps = async <S extends Steps>(best: () => S, attempt: Attempt<S>): Promise<void> => {
  for (let length = Math.ceil(best().steps.length / 2); length >= 1; length = length > 1 ? Math.ceil(length / 2) : 0) {
    for (let at = best().steps.length - length; at > -length; at -= length) {
      const from = Math.max(0, at);
      await attempt({ ...best(), steps: best().steps.toSpliced(from, at + length - from) });
    }
  }
};

/** Tries every place of the schedule, from the last to the first: without it, or with something plainer there. */
const simplify = async <S extends Steps>(best: () => S, attempt: Attempt<S>): Promise<void> => {
  for (const path of places(best() as unknown as Json).reverse()) {
    for (const plainer of variants(best() as unknown as Json, path)) {
      if (await attempt(plainer as unknown as S)) break;
    }
  }
};

type Path = (string | number)[];

/** Parts that a schedule needs as they are. */
const FIXED = new Set(['kind', 'seed', 'server', 'clients']);

const places = (value: Json, path: Path = []): Path[] => {
  const children = Array.isArray(value)
    ? value.map((child, at) => places(child, [...path, at]))
    : typeof value === 'object' && value !== null
      ? Object.entries(value).map(([key, child]) =>
          path.length === 0 && FIXED.has(key) ? [] : places(child, [...path, key]),
        )
      : [];
  return [...(path.length > 0 ? [path] : []), ...children.flat()];
};

/** Lists that may be shorter, and what holds entries that may be absent; all else keeps its form. */
const LISTS = new Set<string | number>(['steps', 'ops', 'move']);
const OPEN = new Set<string | number>(['ops', 'body', 'content']);

const isRemovable = (value: Json, path: Path): boolean => {
  const inList = LISTS.has(path.at(-2) ?? '');
  const parent = at(value, path.slice(0, -1));
  return inList || (path.some((key) => OPEN.has(key)) && !Array.isArray(parent) && !OPEN.has(path.at(-1) ?? ''));
};

const variants = (value: Json, path: Path): Json[] => {
  const there = at(value, path);
  if (there === undefined) return [];
  const plainer: Json[] = [];
  if (typeof there === 'number' && there !== 0) plainer.push(0, Math.trunc(there / 2));
  const isWord = path.some((key) => OPEN.has(key) || key === 'uniqueId');
  if (isWord && typeof there === 'string' && there.length > 1) plainer.push('a');
  if (there === true) plainer.push(false);
  const changed = plainer.filter((other) => other !== there).map((other) => replaced(value, path, other));
  return [...(isRemovable(value, path) ? [replaced(value, path, undefined)] : []), ...changed];
};

const at = (value: Json | undefined, path: Path): Json | undefined =>
  path.reduce<Json | undefined>(
    (value, key) =>
      typeof value === 'object' && value !== null && Object.hasOwn(value, key)
        ? (value as Record<string | number, Json>)[key]
        : undefined,
    value,
  );

/** A copy with something else in one place, or nothing. */
const replaced = (value: Json, [key, ...rest]: Path, other: Json | undefined): Json => {
  if (key === undefined) return other ?? null;
  if (Array.isArray(value)) {
    const index = Number(key);
    if (rest.length === 0 && other === undefined) return value.toSpliced(index, 1);
    return value.with(index, replaced(value[index] ?? null, rest, other));
  }
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([name]) => name !== key || rest.length > 0 || other !== undefined);
  return Object.fromEntries(
    entries.map(([name, child]) => [name, name === key ? replaced(child, rest, other) : child]),
  );
};
