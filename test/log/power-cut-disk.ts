import type { DirectoryEntry, DirectoryReader, FileStat, FileSystem } from '../../src/log/file/file-system.js';

/** Writes are lost, or not, in pieces of this size. */
const PAGE_BYTES = 4096;

interface Write {
  readonly position: number;
  readonly data: Buffer;
}

/** A file as programs see it, and as the disk has it. */
class File {
  readonly kind = 'file';
  readonly ino: number;
  data = Buffer.alloc(0);
  durable = Buffer.alloc(0);
  /** Since the last sync, in pages; a truncation empties them. */
  writes: Write[] = [];
  truncated: number | undefined;
  #room = new ArrayBuffer(0);
  readonly birthtimeMs = Date.now();

  constructor(ino: number) {
    this.ino = ino;
  }

  write(data: Uint8Array, position: number): void {
    const end = position + data.length;
    this.#reach(end);
    this.data.set(data, position);
    for (let at = position; at < end; ) {
      const to = Math.min(end, (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES);
      this.writes.push({ position: at, data: Buffer.from(data.subarray(at - position, to - position)) });
      at = to;
    }
  }

  truncate(length: number): void {
    const kept = this.data.subarray(0, length);
    this.data = Buffer.concat([kept, Buffer.alloc(length - kept.length)]);
    this.truncated = length;
  }

  /** Makes it at least that long; room is taken in large steps. */
  #reach(end: number): void {
    const before = this.data.length;
    if (end <= before) return;
    if (this.data.buffer !== this.#room || this.#room.byteLength < end) {
      this.#room = new ArrayBuffer(2 * end);
      new Uint8Array(this.#room).set(this.data);
    }
    this.data = Buffer.from(this.#room, 0, end);
    this.data.fill(0, before);
  }

  sync(): void {
    this.durable = Buffer.from(this.data);
    this.writes = [];
    this.truncated = undefined;
  }

  /** The power goes: of what was not synced any part may be there. */
  cut(random: () => number): void {
    const { durable, writes } = this;
    this.data = Buffer.from(durable);
    this.writes = [];
    const keep = random();
    for (const { position, data } of writes) {
      if (random() > keep) continue;
      this.#reach(position + data.length);
      this.data.set(data, position);
    }
    if (this.truncated !== undefined && random() < 0.5) this.data = this.data.subarray(0, this.truncated);
    this.truncated = undefined;
    this.sync();
  }
}

class Directory {
  readonly kind = 'directory';
  readonly ino: number;
  names = new Map<string, File | Directory>();
  durable = new Map<string, File | Directory>();
  readonly birthtimeMs = Date.now();
  changes = 0;

  constructor(ino: number) {
    this.ino = ino;
  }

  sync(): void {
    this.durable = new Map(this.names);
  }

  cut(random: () => number): void {
    // Names come and go in order; without a sync, any beginning of what was done may be there.
    if (random() < 0.5) this.names = new Map(this.durable);
    for (const child of this.names.values()) child.cut(random);
    this.sync();
  }
}

/** A disk in memory on which only that is safe which was synced. Also one on which anything can be made to fail. */
export class PowerCutDisk implements FileSystem {
  readonly #root: string;
  readonly #directory: Directory;
  #inodes = 1;
  #open = new Map<number, { node: File | Directory; cut: number }>();
  #fds = 100;
  #cuts = 0;
  /** Throws to make a call fail. */
  fault: ((call: keyof FileSystem, path: string, bytes: number) => void) | undefined;

  constructor(root: string) {
    this.#root = root;
    this.#directory = new Directory(this.#inodes++);
  }

  /** The view of the programs that run until the next power cut; afterwards all its calls fail. */
  session(): FileSystem {
    const cut = this.#cuts;
    const check = () => {
      if (this.#cuts !== cut) throw failure('EIO', 'the power is off');
    };
    const guarded: Record<string, unknown> = {};
    for (const name of CALLS) {
      guarded[name] = (...args: never[]) => {
        if (name !== 'close') check();
        const result = (this[name] as (...all: never[]) => unknown)(...args);
        if (!(result instanceof Promise)) return result;
        return result.then((value) => {
          check();
          return value;
        });
      };
    }
    return guarded as unknown as FileSystem;
  }

  powerCut(random: () => number): void {
    this.kill();
    this.#directory.cut(random);
  }

  /** The power goes, and nothing is left but what was synced. */
  losingPowerCut(): void {
    // Each number is larger than the one before, and none is large.
    let last = 0;
    this.powerCut(() => {
      last += 1e-9;
      return last;
    });
  }

  /** The programs end; what they wrote stays with the kernel, synced or not. */
  kill(): void {
    this.#cuts++;
    this.#open.clear();
  }

  /** The bytes of a file, for the test's own eyes. */
  contents(path: string): Buffer | undefined {
    const node = this.#find(path);
    return node instanceof File ? node.data : undefined;
  }

  open(path: string, flags: number): number {
    this.fault?.('open', path, 0);
    let node = this.#find(path);
    if (node === undefined) {
      if ((flags & O_CREAT) === 0) throw failure('ENOENT', path);
      const { directory, name } = this.#parent(path);
      node = new File(this.#inodes++);
      directory.names.set(name, node);
      directory.changes++;
    } else if ((flags & O_EXCL) !== 0) {
      throw failure('EEXIST', path);
    } else if (node instanceof Directory && (flags & O_WRITE) !== 0) {
      throw failure('EISDIR', path);
    } else if ((flags & O_TRUNC) !== 0 && node instanceof File) {
      node.truncate(0);
    }
    this.#open.set(this.#fds, { node, cut: this.#cuts });
    return this.#fds++;
  }

  close(fd: number): void {
    this.#open.delete(fd);
  }

  write(fd: number, data: Uint8Array, position: number): number {
    const file = this.#file(fd);
    this.fault?.('write', this.#pathOf(file), data.length);
    // A write may be short, as on any disk.
    const part = data.length > 1 && data.length % 7 === 0 ? data.subarray(0, data.length - 1) : data;
    file.write(part, position);
    return part.length;
  }

  async writeLarge(fd: number, data: readonly Uint8Array[], position: number): Promise<number> {
    await turn();
    const all = Buffer.concat(data);
    const file = this.#file(fd);
    this.fault?.('writeLarge', this.#pathOf(file), all.length);
    const part = all.length > 100_000 ? all.subarray(0, 100_000) : all;
    file.write(part, position);
    return part.length;
  }

  read(fd: number, into: Uint8Array, position: number): number {
    const file = this.#file(fd);
    this.fault?.('read', this.#pathOf(file), into.length);
    return file.data.copy(into, 0, position, position + into.length);
  }

  async readLarge(fd: number, into: Uint8Array, position: number): Promise<number> {
    await turn();
    return this.read(fd, into, position);
  }

  async sync(fd: number): Promise<void> {
    const node = this.#node(fd);
    const synced = node instanceof File ? node.writes.length : 0;
    await turn();
    this.fault?.('sync', this.#pathOf(node), synced);
    this.#node(fd).sync();
  }

  truncate(fd: number, length: number): void {
    const file = this.#file(fd);
    this.fault?.('truncate', this.#pathOf(file), length);
    file.truncate(length);
  }

  stat(path: string): FileStat | undefined {
    this.fault?.('stat', path, 0);
    const node = this.#find(path);
    return node === undefined ? undefined : statOf(node);
  }

  fstat(fd: number): FileStat {
    return statOf(this.#node(fd));
  }

  realpath(path: string): string {
    if (this.#find(path) === undefined) throw failure('ENOENT', path);
    return path;
  }

  mkdir(path: string): void {
    this.fault?.('mkdir', path, 0);
    const { directory, name } = this.#parent(path);
    if (directory.names.has(name)) throw failure('EEXIST', path);
    directory.names.set(name, new Directory(this.#inodes++));
    directory.changes++;
  }

  unlink(path: string): void {
    this.fault?.('unlink', path, 0);
    const { directory, name } = this.#parent(path);
    if (!directory.names.delete(name)) throw failure('ENOENT', path);
    directory.changes++;
  }

  rmdir(path: string): void {
    const node = this.#find(path);
    if (!(node instanceof Directory)) throw failure('ENOTDIR', path);
    if (node.names.size > 0) throw failure('ENOTEMPTY', path);
    this.unlink(path);
  }

  rename(from: string, to: string): void {
    this.fault?.('rename', from, 0);
    const node = this.#find(from);
    if (node === undefined) throw failure('ENOENT', from);
    const target = this.#parent(to);
    const source = this.#parent(from);
    source.directory.names.delete(source.name);
    target.directory.names.set(target.name, node);
    target.directory.changes++;
  }

  readFile(path: string): Buffer {
    this.fault?.('readFile', path, 0);
    const node = this.#find(path);
    if (!(node instanceof File)) throw failure('ENOENT', path);
    return Buffer.from(node.data);
  }

  async readdir(path: string): Promise<DirectoryEntry[]> {
    const node = this.#find(path);
    if (!(node instanceof Directory)) throw failure('ENOENT', path);
    return [...node.names].map(([name, { kind }]) => ({ name, kind }));
  }

  async opendir(path: string): Promise<DirectoryReader> {
    const names = (await this.readdir(path)).values();
    return {
      read: async () => names.next().value ?? null,
      close: async () => {},
    };
  }

  #node(fd: number): File | Directory {
    const open = this.#open.get(fd);
    if (open === undefined) throw failure('EBADF', String(fd));
    return open.node;
  }

  #file(fd: number): File {
    const node = this.#node(fd);
    if (node instanceof Directory) throw failure('EISDIR', String(fd));
    return node;
  }

  #find(path: string): File | Directory | undefined {
    if (path === this.#root) return this.#directory;
    let node: File | Directory | undefined = this.#directory;
    for (const name of path.slice(this.#root.length + 1).split('/')) {
      if (!(node instanceof Directory)) return undefined;
      node = node.names.get(name);
    }
    return node;
  }

  #parent(path: string): { directory: Directory; name: string } {
    const slash = path.lastIndexOf('/');
    const directory = this.#find(path.slice(0, slash));
    if (directory === undefined) throw failure('ENOENT', path);
    if (directory instanceof File) throw failure('ENOTDIR', path);
    return { directory, name: path.slice(slash + 1) };
  }

  #pathOf(node: File | Directory): string {
    const search = (directory: Directory, prefix: string): string | undefined => {
      for (const [name, child] of directory.names) {
        if (child === node) return `${prefix}/${name}`;
        const found = child instanceof Directory ? search(child, `${prefix}/${name}`) : undefined;
        if (found !== undefined) return found;
      }
      return undefined;
    };
    return this.fault === undefined ? '' : (search(this.#directory, this.#root) ?? this.#root);
  }
}

const CALLS = [
  'open',
  'close',
  'write',
  'writeLarge',
  'read',
  'readLarge',
  'sync',
  'truncate',
  'stat',
  'fstat',
  'realpath',
  'mkdir',
  'unlink',
  'rmdir',
  'rename',
  'readFile',
  'readdir',
  'opendir',
] as const satisfies readonly (keyof FileSystem)[];

const O_WRITE = 0o3;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;

/** An error as the operating system gives them. */
export function failure(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}

function statOf(node: File | Directory): FileStat {
  const { kind, ino, birthtimeMs } = node;
  const size = node instanceof File ? node.data.length : 0;
  // A time that tells every change, as the kernel's does when nothing is too fast for it.
  const mtimeMs = node instanceof Directory ? node.changes : 0;
  return { kind, size, dev: 1, ino, birthtimeMs, mtimeMs, nlink: 1 };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
