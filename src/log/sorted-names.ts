/** A block that has more than this is cut in two. */
const BLOCK_NAMES_MAX = 512;
/** What a name costs beside its characters: the string, its place in a block. */
const NAME_BYTES = 48;

/**
 * Names in order by code unit, of which some come and go: in blocks, so that none of it costs more than one block,
 * however many there are.
 */
export class SortedNames {
  /** None is empty, and all names of one come before those of the next. */
  readonly #blocks: string[][] = [];
  #size = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  /** About how much memory they take. */
  get bytes(): number {
    return this.#bytes;
  }

  add(name: string): void {
    const at = this.#blockOf(name);
    const block = this.#blocks[at];
    if (block === undefined) this.#blocks.push([name]);
    else {
      const place = firstAt(block, name);
      if (block[place] === name) return;
      block.splice(place, 0, name);
      if (block.length > BLOCK_NAMES_MAX) this.#blocks.splice(at + 1, 0, block.splice(BLOCK_NAMES_MAX / 2));
    }
    this.#size++;
    this.#bytes += bytesOf(name);
  }

  delete(name: string): void {
    const at = this.#blockOf(name);
    const block = this.#blocks[at];
    const place = block === undefined ? 0 : firstAt(block, name);
    if (block?.[place] !== name) return;
    block.splice(place, 1);
    if (block.length === 0) this.#blocks.splice(at, 1);
    this.#size--;
    this.#bytes -= bytesOf(name);
  }

  /** The first names from `from` on (or, exclusively, after it), at most `limit`. */
  slice(from: string, exclusively: boolean, limit: number): string[] {
    const found: string[] = [];
    let at = this.#blockOf(from);
    let place = firstAt(this.#blocks[at] ?? [], from);
    if (exclusively && this.#blocks[at]?.[place] === from) place++;
    for (; at < this.#blocks.length && found.length < limit; at++) {
      const block = this.#blocks[at] as string[];
      found.push(...block.slice(place, place + limit - found.length));
      place = 0;
    }
    return found;
  }

  /** Forgets a block of the last ones; answers the last one that is left. */
  dropLast(): string | undefined {
    for (const name of this.#blocks.pop() ?? []) {
      this.#size--;
      this.#bytes -= bytesOf(name);
    }
    return this.#blocks.at(-1)?.at(-1);
  }

  /** The index of the block in which a name is, if it is there: the last one that does not begin after it. */
  #blockOf(name: string): number {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#blocks[middle]?.[0] as string) <= name) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

function bytesOf(name: string): number {
  return NAME_BYTES + 2 * name.length;
}

/** The index of the first element that is not before `name`. */
function firstAt(sorted: readonly string[], name: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as string) < name) low = middle + 1;
    else high = middle;
  }
  return low;
}
