import type { CommittedFrames } from './store.ts';

/** Collects what one commit appended to one run. Buffers are made when somebody asks: nobody may be watching. */
export class Committed implements CommittedFrames {
  readonly run: number;
  readonly firstId: number;
  lastId: number;
  readonly variations = new Set<number | null>();
  readonly #texts: string[] = [];
  readonly #origins: (number | null)[] = [];
  readonly #of = new Map<number, Buffer>();
  #frames: Buffer | undefined;

  constructor(run: number, firstId: number) {
    this.run = run;
    this.firstId = firstId;
    this.lastId = firstId;
  }

  add(id: number, variation: number | null, frame: string): void {
    this.lastId = id;
    this.variations.add(variation);
    this.#texts.push(frame);
    this.#origins.push(variation);
  }

  get count(): number {
    return this.#texts.length;
  }

  get frames(): Buffer {
    this.#frames ??= Buffer.from(this.#texts.join(''));
    return this.#frames;
  }

  of(variation: number): Buffer {
    let frames = this.#of.get(variation);
    if (frames === undefined) {
      frames = this.#select(variation);
      this.#of.set(variation, frames);
    }
    return frames;
  }

  #select(variation: number): Buffer {
    const others = this.variations.size - Number(this.variations.has(variation)) - Number(this.variations.has(null));
    if (others === 0) return this.frames;
    const texts = this.#texts.filter((_, at) => this.#origins[at] === variation || this.#origins[at] === null);
    return Buffer.from(texts.join(''));
  }
}
