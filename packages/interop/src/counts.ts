/** How often what happened. */
export class Counts {
  readonly #counts = new Map<string, number>();

  add(what: string, count = 1): void {
    this.#counts.set(what, this.get(what) + count);
  }

  get(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  addAll(other: Counts): void {
    for (const [what, count] of other.#counts) this.add(what, count);
  }

  /** Those of `wanted` that never happened. */
  missing(wanted: readonly string[]): string[] {
    return wanted.filter((what) => this.get(what) === 0);
  }

  lines(prefix: string): string[] {
    const entries = [...this.#counts].filter(([what]) => what.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1));
    return entries.map(([what, count]) => `${String(count).padStart(9)}  ${what}`);
  }
}
