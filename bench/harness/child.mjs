// Child processes of a benchmark: each runs one file of processes/, talks by messages, and dies with its parent.
import { fork } from 'node:child_process';
import { once } from 'node:events';

/** Longest wait for a message of a child. */
const ANSWER_MS_MAX = 300_000;

/** Where to leave a CPU profile of each Millrace server, if anywhere. */
const PROFILES = process.env.MILLRACE_BENCH_PROFILES;

const children = new Set();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** Starts processes/NAME.mjs with the options as its JSON argument. */
export function start(name, options = {}) {
  const profiled = PROFILES !== undefined && name === 'millrace-server';
  const child = fork(new URL(`../processes/${name}.mjs`, import.meta.url), [JSON.stringify(options)], {
    execArgv: profiled ? ['--cpu-prof', `--cpu-prof-dir=${PROFILES}`] : [],
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return {
    /** The next message. */
    async answer() {
      const answered = new AbortController();
      const { signal } = answered;
      const late = () => answered.abort(new Error(`${name} did not answer within ${ANSWER_MS_MAX} ms`));
      const timer = setTimeout(late, ANSWER_MS_MAX);
      const ended = once(child, 'exit', { signal }).then(([code]) => {
        throw new Error(`${name} ended with ${code} before it answered`);
      });
      try {
        const [message] = await Promise.race([once(child, 'message', { signal }), ended]);
        return message;
      } finally {
        clearTimeout(timer);
        ended.catch(() => {});
        answered.abort();
      }
    },
    /** Sends a message and waits for the answer. */
    ask(message) {
      child.send(message);
      return this.answer();
    },
    async stop() {
      if (!children.has(child)) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    },
  };
}
