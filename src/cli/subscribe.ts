import { Command } from 'commander';
import type { EncodedMessage } from '../hub/index.js';
import { combineSignals } from '../signals.js';
import { type ChannelEvent, channelsUrl, openChannels } from './channel-source.js';
import { CommandFailed, EXIT } from './exit.js';
import { interruption } from './interrupt.js';
import { createLog, type LogOptions } from './log.js';
import { jsonOption, verboseOption } from './options.js';
import { StandardOutput } from './standard-output.js';

interface SubscribeOptions extends LogOptions {
  readonly pattern?: readonly string[];
  readonly channels?: boolean;
}

/** `millrace subscribe URL CHANNEL…`: the messages of channels to standard output, one a line. */
export function subscribeCommand(): Command {
  return new Command('subscribe')
    .description('Print the messages of channels as JSON, one a line, until Ctrl-C. Gaps are told on standard error.')
    .argument('<url>', 'a server like http://localhost:4437, or a broker like redis://localhost', channelsUrl)
    .argument('[channels...]', 'the channels')
    .option('--pattern <pattern...>', 'follow channels that match: * stands for any run of characters')
    .option('--channels', 'print {"channel":…,"message":…} instead of the message alone')
    .addOption(verboseOption())
    .addOption(jsonOption())
    .action(subscribe);
}

async function subscribe(url: URL, names: readonly string[], options: SubscribeOptions): Promise<void> {
  const targets = [...names, ...(options.pattern ?? []).map((pattern) => ({ pattern }))];
  if (targets.length === 0) {
    throw new CommandFailed(EXIT.usage, new Error('Name at least one channel, or a --pattern.'));
  }
  const log = createLog(options);
  const interrupted = interruption();
  const output = new StandardOutput();
  const channels = openChannels(url);
  const print = async (event: ChannelEvent) => {
    if (event.gap !== undefined) {
      const { reason, missed = 'some' } = event.gap;
      return log.warn({ reason }, `gap: ${missed} messages of ${event.channel} may be missing here`);
    }
    const message = printable(event.message);
    const line = options.channels ? `{"channel":${JSON.stringify(event.channel)},"message":${message}}` : message;
    await output.write(Buffer.from(`${line}\n`));
  };
  const { signal, release } = combineSignals([interrupted.signal, output.gone]);
  try {
    await channels.follow(targets, print, () => log.info({}, `subscribed at ${url} (ctrl-C to exit)`), signal);
  } catch (error) {
    output.throwIfFailed();
    if (!signal.aborted) throw error;
  } finally {
    release();
    interrupted.stop();
    await channels.close();
  }
}

/** The JSON of a message on one line, as it was written. Bytes as the text that they are, or else in base64. */
function printable({ bytes, value }: EncodedMessage): string {
  const text = Buffer.from(bytes).toString();
  // Line breaks of JSON are white space.
  if (!(value instanceof Uint8Array)) return text.replace(/[\r\n]+/g, ' ');
  const isText = Buffer.from(text).equals(bytes);
  return JSON.stringify(isText ? text : { base64: Buffer.from(bytes).toString('base64') });
}
