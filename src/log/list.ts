import { SLICE_BYTES, turnBudget } from '../turn-budget.js';
import type { Core } from './core.js';
import type { ListedStream, ListOptions, StreamPage } from './store.js';

export const LIST_LIMIT_DEFAULT = 1000;
export const LIST_LIMIT_MAX = 10_000;
/** How many streams are looked at in one slice: each may have to be read from the disk. */
const SLICE_STREAMS = 32;

/** `Store.list`. */
export async function list(core: Core, options: ListOptions = {}): Promise<StreamPage> {
  const { prefix = '' } = options;
  const limit = Math.min(Math.max(1, Math.floor(options.limit ?? LIST_LIMIT_DEFAULT)), LIST_LIMIT_MAX);
  const streams: ListedStream[] = [];
  let after = options.after ?? '';
  for (;;) {
    const paths = await core.medium.list({ prefix, after, limit: limit + 1 });
    for (const [at, path] of paths.entries()) {
      if (at % SLICE_STREAMS === SLICE_STREAMS - 1) await turnBudget.take(SLICE_BYTES);
      after = path;
      const info = infoOf(core, path);
      if (info === undefined) continue;
      if (streams.length === limit) return { streams, next: (streams[limit - 1] as ListedStream).path };
      streams.push(info);
    }
    if (paths.length <= limit) return { streams };
  }
}

function infoOf(core: Core, path: string): ListedStream | undefined {
  try {
    const stream = core.streams.peek(path);
    if (stream === undefined || !stream.exists || stream.deleted || stream.softDeleted) return undefined;
    if (stream.isExpired(core.time)) return undefined;
    const { id, ...info } = stream.info();
    return stream.isNamed ? { id, ...info } : info;
  } catch {
    // A file that cannot be read now is no stream now; who asks for it by name gets the reason.
    return undefined;
  }
}
