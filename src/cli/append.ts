import { Command } from 'commander';
import { type AppendOptions, append } from '../client/index.js';
import { CommandFailed, EXIT } from './exit.js';
import { interruption } from './interrupt.js';
import { createLog, type LogOptions } from './log.js';
import { jsonOption, notesOfRetries, streamUrl, verboseOption } from './options.js';

interface AppendCommandOptions extends LogOptions {
  readonly close?: boolean;
  readonly contentType?: string;
}

/** `millrace append URL`: standard input, from a terminal or a pipe, to a stream. */
export function appendCommand(): Command {
  return new Command('append')
    .description('Append standard input to a stream, as its only appender. Ctrl-C ends it cleanly.')
    .argument('<url>', 'the stream, like http://localhost:4437/foo.txt', streamUrl)
    .option('--close', 'close the stream for good at the end: its followers know that nothing more will come')
    .option('--content-type <type>', 'MIME type, where this makes the stream (default: by its extension)')
    .addOption(verboseOption())
    .addOption(jsonOption())
    .action(appendStandardInput);
}

async function appendStandardInput(url: URL, options: AppendCommandOptions): Promise<void> {
  const log = createLog(options);
  const interrupted = interruption();
  log.info({}, `appending from stdin to ${url}`);
  // Nothing is read before the stream is ours: until then there is nothing to bring to its end.
  const connecting = new AbortController();
  const giveUp = () => connecting.abort(interrupted.signal.reason);
  interrupted.signal.addEventListener('abort', giveUp, { once: true });
  async function* input() {
    interrupted.signal.removeEventListener('abort', giveUp);
    yield* standardInput(interrupted.signal);
  }
  try {
    const settings: AppendOptions = {
      closeStream: options.close ?? false,
      onRetry: notesOfRetries(log),
      signal: connecting.signal,
      ...(options.contentType === undefined ? {} : { contentType: options.contentType }),
    };
    const { bytes, offset } = await append(url, input(), settings);
    log.info({ bytes, offset }, `finished appending from stdin to ${url}`);
  } catch (error) {
    if (!connecting.signal.aborted) throw error;
    const why = `interrupted before the connection to ${url} was there: nothing was appended`;
    throw new CommandFailed(EXIT.interrupted, new Error(why, { cause: error }));
  } finally {
    interrupted.stop();
    process.stdin.destroy();
  }
}

/** Standard input until it ends, or until the process is asked to end: then all that was read is still sent. */
async function* standardInput(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const { stdin } = process;
  const events = ['readable', 'end', 'close', 'error'] as const;
  let wake: () => void = () => undefined;
  let failure: Error | undefined;
  const onEvent = (error?: unknown) => {
    if (error instanceof Error) failure = error;
    wake();
  };
  for (const event of events) stdin.on(event, onEvent);
  signal.addEventListener('abort', onEvent, { once: true });
  try {
    while (failure === undefined) {
      // All that is buffered; null where there is nothing.
      const chunk = stdin.read() as Uint8Array | null;
      if (chunk !== null) yield chunk;
      if (signal.aborted || stdin.readableEnded || stdin.destroyed) return;
      if (chunk === null) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    throw failure;
  } finally {
    for (const event of events) stdin.removeListener(event, onEvent);
    signal.removeEventListener('abort', onEvent);
  }
}
