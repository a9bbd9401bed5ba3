import type { ServerResponse } from 'node:http';

/** Resolves when a response takes more; rejects when its client went away. */
export function drained(res: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      res.off('drain', settle);
      res.off('close', settle);
      if (res.destroyed) reject(new Error('The client went away.'));
      else resolve();
    };
    res.on('drain', settle);
    res.on('close', settle);
  });
}
