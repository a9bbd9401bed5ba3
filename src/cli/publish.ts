import { createInterface } from 'node:readline';
import { Command, InvalidArgumentError } from 'commander';
import { EncodedMessage } from '../hub/index.js';
import { channelsUrl, openChannels } from './channel-source.js';
import { CommandFailed, EXIT } from './exit.js';
import { interruption } from './interrupt.js';
import { createLog, type LogOptions } from './log.js';
import { jsonOption, verboseOption } from './options.js';

interface PublishOptions extends LogOptions {
  readonly text?: boolean;
}

/** `millrace publish URL CHANNEL [MESSAGE]`: one message, or each line of standard input, to a channel. */
export function publishCommand(): Command {
  return new Command('publish')
    .description('Publish a message to a channel; without one, each line of standard input.')
    .argument('<url>', 'a server like http://localhost:4437, or a broker like redis://localhost', channelsUrl)
    .argument('<channel>', 'the channel')
    .argument('[message]', 'the message, as JSON')
    .option('--text', 'messages are text, not JSON')
    .addOption(verboseOption())
    .addOption(jsonOption())
    .action(publish);
}

async function publish(url: URL, channel: string, message: string | undefined, options: PublishOptions): Promise<void> {
  const log = createLog(options);
  const interrupted = interruption();
  const channels = openChannels(url);
  let count = 0;
  const send = async (text: string) => {
    await channels.publish(channel, options.text === true ? EncodedMessage.json(JSON.stringify(text)) : parse(text));
    count++;
  };
  try {
    if (message !== undefined) await send(message);
    else {
      const lines = createInterface({ input: process.stdin });
      interrupted.signal.addEventListener('abort', () => lines.close(), { once: true });
      for await (const line of lines) if (line !== '' || options.text === true) await send(line);
    }
    log.info({ messages: count }, `published to ${channel}`);
  } finally {
    interrupted.stop();
    process.stdin.destroy();
    await channels.close();
  }
}

/** What is published is the text as it was given. */
function parse(text: string): EncodedMessage {
  try {
    return EncodedMessage.json(text);
  } catch {
    const error = new InvalidArgumentError(
      'The message is not JSON: put it in quotes, as in \'"hello"\', or give --text.',
    );
    throw new CommandFailed(EXIT.usage, error);
  }
}
