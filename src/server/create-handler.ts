import { Socket } from 'node:net';
import {
  checkHandlerOptions,
  type Handler,
  type HandlerOptions,
  isBelow,
  originCheckOf,
  createHandler as overStore,
  refuseRequest,
} from '../http/index.js';
import { httpLimits } from '../http/limits.js';
import { Pipeline } from '../http/pipeline.js';
import { createFileStore, type FileStoreOptions, type Store } from '../log/index.js';
import { logLosses } from './log-losses.js';

/** Options of {@link createHandler} with a root in place of a store. */
export interface RootHandlerOptions extends Omit<HandlerOptions, 'store'> {
  /** The directory whose files are the streams; made if there is none. */
  readonly root: string;
  /** Further options of the file store. */
  readonly files?: Omit<FileStoreOptions, 'root'>;
}

/** A handler that has opened its own store, and closes it. */
export interface RootHandler extends Handler {
  /**
   * Resolves with the store once it is open; until then requests wait. Rejects, as every request is refused, with
   * `STORE_LOCKED`, `STORE_UNAVAILABLE`, `STORE_FULL` or `JOURNAL_CORRUPT`.
   */
  readonly ready: Promise<Store>;
}

/**
 * Millrace as listeners for a `node:http` server: over a store of yours, or over the files below a root. With a root,
 * `close()` closes the store too. Errors: `INVALID_ARGUMENT`.
 */
export function createHandler(options: RootHandlerOptions): RootHandler;
export function createHandler(options: HandlerOptions): Handler;
export function createHandler(options: HandlerOptions | RootHandlerOptions): Handler | RootHandler {
  if (!('root' in options)) return overStore(options);
  const { root, files, ...rest } = options;
  checkHandlerOptions(rest);
  const originCheck = originCheckOf(rest);
  const ready = createFileStore({ createRoot: true, onLoss: logLosses(rest.log), ...files, root });
  const opened = ready.then((store) => overStore({ ...rest, store }));
  let handler: Handler | undefined;
  opened.then(
    (made) => {
      handler = made;
    },
    // Whoever asks is told; nobody has to.
    () => {},
  );
  const { prefix = '' } = rest;
  const pipeline = new Pipeline(httpLimits(rest.limits));
  return {
    ready,
    request(req, res, next) {
      if (handler !== undefined) return handler.request(req, res, next);
      if (!isBelow(req, prefix)) {
        next?.();
        return false;
      }
      const whenOpen = () => {
        opened.then(
          (made) => made.request(req, res, next),
          (error) => refuseRequest(req, res, error, originCheck),
        );
      };
      // A response without a socket belongs to a request that was pipelined.
      if (!res.socket && req.socket instanceof Socket) pipeline.wait(req.socket, req, res, whenOpen);
      else whenOpen();
      return true;
    },
    upgrade(req, socket, head) {
      if (handler !== undefined) return handler.upgrade(req, socket, head);
      if (!isBelow(req, prefix)) return false;
      opened.then(
        (made) => made.upgrade(req, socket, head),
        () => socket.destroy(),
      );
      return true;
    },
    async close(closeOptions) {
      const made = await opened.catch(() => undefined);
      await made?.close(closeOptions);
      await ready.then(
        (store) => store.close(),
        () => {},
      );
    },
  };
}
