import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * Answers `Expect: 100-continue` (RFC 9110, section 10.1.1) when somebody begins to read the body, whoever that is: then
 * the headers alone have not led to a refusal. A client that is answered before that need not send the body, so nobody
 * can tell what its next bytes are: the connection ends with the answer.
 */
export function continueWhenRead(req: IncomingMessage, res: ServerResponse): void {
  const { shouldKeepAlive } = res;
  const read = req._read;
  res.shouldKeepAlive = false;
  // What a readable stream calls when its consumer wants more.
  req._read = (size) => {
    req._read = read;
    if (!res.headersSent) {
      res.shouldKeepAlive = shouldKeepAlive;
      res.writeContinue();
    }
    req._read(size);
  };
}

/** Whether the client waits to hear whether it shall send the body. */
export function asksFirst(req: IncomingMessage): boolean {
  return req.headers.expect !== undefined;
}
