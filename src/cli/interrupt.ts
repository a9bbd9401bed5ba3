import { EXIT } from './exit.js';

/** The signals that ask a command to come to its end. */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** An aborted signal once the process was asked to end. Asked again by Ctrl-C, the process ends at once. */
export function interruption(): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const interrupt = (name: NodeJS.Signals) => {
    if (!controller.signal.aborted) controller.abort(name);
    else if (name === 'SIGINT') process.exit(EXIT.interrupted);
  };
  for (const name of SIGNALS) process.on(name, interrupt);
  return {
    signal: controller.signal,
    stop: () => {
      for (const name of SIGNALS) process.removeListener(name, interrupt);
    },
  };
}
