/** The last events that were shown, in a ring: to step back through, and to draw any moment anew. */
export class History {
  readonly #t: Float64Array;
  readonly #x: Uint16Array;
  readonly #y: Uint16Array;
  readonly #p: Uint8Array;
  readonly #capacity: number;
  #end = 0;

  constructor(capacity = 2 ** 21) {
    this.#capacity = capacity;
    this.#t = new Float64Array(capacity);
    this.#x = new Uint16Array(capacity);
    this.#y = new Uint16Array(capacity);
    this.#p = new Uint8Array(capacity);
  }

  get size(): number {
    return Math.min(this.#end, this.#capacity);
  }

  /** Times of the oldest and the newest event, us; null where there is none. */
  get span(): [number, number] | null {
    return this.#end === 0 ? null : [this.#t[this.#at(this.#end - this.size)]!, this.#t[this.#at(this.#end - 1)]!];
  }

  clear(): void {
    this.#end = 0;
  }

  add(t: ArrayLike<number>, x: ArrayLike<number>, y: ArrayLike<number>, p: ArrayLike<number>): void {
    for (let i = 0; i < t.length; i++, this.#end++) {
      const at = this.#at(this.#end);
      this.#t[at] = t[i]!;
      this.#x[at] = x[i]!;
      this.#y[at] = y[i]!;
      this.#p[at] = p[i]!;
    }
  }

  /** Every event in (fromUs, toUs], the oldest first; times rise. */
  each(fromUs: number, toUs: number, see: (t: number, x: number, y: number, p: number) => void): void {
    for (let k = this.#behind(fromUs); k < this.#end; k++) {
      const at = this.#at(k);
      if (this.#t[at]! > toUs) return;
      see(this.#t[at]!, this.#x[at]!, this.#y[at]!, this.#p[at]!);
    }
  }

  #at(k: number): number {
    return k % this.#capacity;
  }

  /** The first event after a time. */
  #behind(tUs: number): number {
    let low = this.#end - this.size, high = this.#end;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#t[this.#at(middle)]! <= tUs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
