/** JSON as it travels: U+FFFC for undefined, and minus zero kept, which `JSON.stringify` alone would lose. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export const UNDEFINED = '\uFFFC';
export const JSON_MARK = '\uFFFD';

const MINUS_ZERO = '@minus zero@';

/** The text of something whose undefined parts are written as U+FFFC. */
export const toWire = (thing: unknown): string =>
  JSON.stringify(thing, (_key, value: unknown) => (value === undefined ? UNDEFINED : value));

/** The inverse of {@link toWire}; objects have no prototype, so that `__proto__` is a key like others. */
export const fromWire = (text: string): unknown => withUndefined(JSON.parse(text));

export const withUndefined = (thing: unknown): unknown => {
  if (thing === UNDEFINED) return undefined;
  if (Array.isArray(thing)) return thing.map(withUndefined);
  if (typeof thing !== 'object' || thing === null) return thing;
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of Object.entries(thing)) {
    Object.defineProperty(copy, key, { value: withUndefined(value), configurable: true, enumerable: true, writable: true });
  }
  return copy;
};

/** The text of a schedule or command. */
export const toText = (value: unknown, indent?: number): string => {
  if (!hasMinusZero(value)) return JSON.stringify(value, undefined, indent);
  const marked = JSON.stringify(value, (_key, item: unknown) => (Object.is(item, -0) ? MINUS_ZERO : item), indent);
  return marked.replaceAll(`"${MINUS_ZERO}"`, '-0');
};

const hasMinusZero = (value: unknown): boolean => {
  if (typeof value !== 'object' || value === null) return Object.is(value, -0);
  return (Array.isArray(value) ? value : Object.values(value)).some(hasMinusZero);
};

/** An object of these entries, in which `__proto__` is a key like others. */
export const objectOf = <V>(entries: readonly (readonly [string, V])[]): { [key: string]: V } =>
  Object.fromEntries(entries);
