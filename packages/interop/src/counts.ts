/** How often what happened. */
export class Counts {
  readonly #counts = new Map<string, number>();

  add(what: string, count = 1): void {
    this.#counts.set(what, this.get(what) + count);
  }

  get(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  /** Those of `wanted` that never happened. */
  missing(wanted: readonly string[]): string[] {
    return wanted.filter((what) => this.get(what) === 0);
  }

  lines(): string[] {
    return [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([what, count]) => `${String(count).padStart(9)}  ${what}`);
  }
}
