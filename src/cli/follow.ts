import { Command, Option } from 'commander';
import { DEFAULT_FOLLOW_WAIT_MS, follow } from '../client/index.js';
import { combineSignals } from '../signals.js';
import { CommandFailed, EXIT } from './exit.js';
import { interruption } from './interrupt.js';
import { createLog, type LogOptions } from './log.js';
import { jsonOption, notesOfRetries, streamUrl, TIMER_MS_MAX, verboseOption, wholeNumber } from './options.js';
import { StandardOutput } from './standard-output.js';

const APPENDER_LOST =
  'the appender was lost, and never said that it was done: the stream may be unfinished. Use --live to wait for one that comes back.';

interface FollowCommandOptions extends LogOptions {
  readonly live?: boolean;
  readonly offset?: string;
  /** True where no number was given. */
  readonly wait?: true | number;
}

/** `millrace follow URL`: a stream to standard output, byte for byte. */
export function followCommand(): Command {
  return new Command('follow')
    .description('Print a stream as it grows. Ends when its appender leaves; at once where there is none.')
    .argument('<url>', 'the stream, like http://localhost:4437/foo.txt', streamUrl)
    .option('--live', 'stay until the stream is closed for good')
    .addOption(new Option('--offset <token>', 'begin here: a token from -v, -1 for the start, now for what is new'))
    .addOption(
      new Option(
        '--wait [seconds]',
        `wait for a stream that is not there yet (without a number ${DEFAULT_FOLLOW_WAIT_MS / 1000})`,
      ).argParser(wholeNumber(0, Math.floor(TIMER_MS_MAX / 1000))),
    )
    .addOption(verboseOption())
    .addOption(jsonOption())
    .action(followToStandardOutput);
}

async function followToStandardOutput(url: URL, options: FollowCommandOptions): Promise<void> {
  const log = createLog(options);
  const interrupted = interruption();
  const output = new StandardOutput();
  const ending = combineSignals([interrupted.signal, output.gone]);
  log.info({}, `following data at ${url} (ctrl-C to exit)`);
  const follower = follow(url, {
    live: options.live ?? false,
    onRetry: notesOfRetries(log),
    signal: ending.signal,
    ...(options.offset === undefined ? {} : { offset: options.offset }),
    ...(options.wait === undefined ? {} : { wait: options.wait === true || options.wait * 1000 }),
  });
  let bytes = 0;
  try {
    for await (const chunk of follower) {
      bytes += chunk.length;
      await output.write(chunk);
    }
  } catch (error) {
    output.throwIfFailed();
    // Ctrl-C, and a reader like `head` that has seen enough, are ways to end well.
    if (!ending.signal.aborted) throw error;
  } finally {
    ending.release();
    interrupted.stop();
  }
  log.info({ offset: follower.offset }, `finished following (read ${bytes} bytes)`);
  if (follower.end === 'lost') {
    throw new CommandFailed(EXIT.appenderLost, new Error(APPENDER_LOST));
  }
}
