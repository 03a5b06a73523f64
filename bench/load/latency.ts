/** Latencies in buckets of 10 us up to two seconds: recording one costs nothing beside reading it. */
export class Latencies {
  readonly #buckets = new Uint32Array(200_001);
  #count = 0;
  #max = 0;

  record(micros: number): void {
    this.#count += 1;
    if (micros > this.#max) this.#max = micros;
    const bucket = Math.min(200_000, Math.max(0, Math.floor(micros / 10)));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
  }

  reset(): void {
    this.#buckets.fill(0);
    this.#count = 0;
    this.#max = 0;
  }

  /** Milliseconds. */
  summary(): { count: number; p50: number; p99: number; max: number } {
    return { count: this.#count, p50: this.#at(0.5), p99: this.#at(0.99), max: this.#max / 1000 };
  }

  #at(share: number): number {
    let left = Math.ceil(this.#count * share);
    for (let bucket = 0; bucket < this.#buckets.length; bucket += 1) {
      left -= this.#buckets[bucket] ?? 0;
      if (left <= 0) return (bucket + 0.5) / 100;
    }
    return Number.NaN;
  }
}
