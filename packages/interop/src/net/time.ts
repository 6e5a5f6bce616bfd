/** Time that passes only when it is told to, for everything that uses `setTimeout`. */
export class FakeTime {
  #timers: { id: number; at: number; callback: () => void }[] = [];
  #nextId = 1;
  readonly #real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };

  constructor(public now: number) {
    const set = (callback: () => void, delayMs = 0): number => {
      const id = this.#nextId++;
      this.#timers.push({ id, at: this.now + delayMs, callback });
      return id;
    };
    const clear = (id: number | undefined): void => {
      this.#timers = this.#timers.filter((timer) => timer.id !== id);
    };
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear });
  }

  /** Puts the real timers back; what is still due never happens. */
  end(): void {
    Object.assign(globalThis, this.#real);
    this.#timers = [];
  }

  /** When the next timer is due. */
  get next(): number | undefined {
    return this.#timers.length > 0 ? Math.min(...this.#timers.map(({ at }) => at)) : undefined;
  }

  /** Lets time pass, and fires what gets due, the earliest first. */
  passTo(now: number): void {
    this.now = Math.max(this.now, now);
    for (let due = this.#due(); due; due = this.#due()) {
      const { id, callback } = due;
      this.#timers = this.#timers.filter((timer) => timer.id !== id);
      callback();
    }
  }

  #due(): { id: number; callback: () => void } | undefined {
    return this.#timers.filter(({ at }) => at <= this.now).sort((a, b) => a.at - b.at || a.id - b.id)[0];
  }
}

/** Lets everything run that promises have set going. */
export const quiet = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
