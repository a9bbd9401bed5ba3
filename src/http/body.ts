import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../errors.js';
import { clientAddress } from './client-address.js';
import type { Exchange } from './context.js';
import type { Intake } from './intake-budget.js';
import { Pieces } from './pieces.js';

const EMPTY = Buffer.alloc(0);

/**
 * Does something with the whole body of a request. Until that is done the body counts against the budget for what is on
 * its way in.
 * Errors: `CONTENT_ENCODING_UNSUPPORTED`, `BODY_TOO_LARGE`, `INVALID_REQUEST` (somebody else has read it), `ABORTED`
 * (the client went away), `INTAKE_BUSY`, `REQUEST_TIMEOUT`, and those of `use`.
 */
export async function withBody<T>(
  exchange: Exchange,
  use: (body: Buffer) => T | Promise<T>,
  bytesMax: number = exchange.context.limits.bodyBytesMax,
): Promise<T> {
  const body = await readBody(exchange, bytesMax);
  try {
    return await use(body);
  } finally {
    letGo(exchange, body);
  }
}

/** What was to be done with a body that {@link readBody} gave is done: it counts no more. */
export function letGo({ context }: Exchange, body: Buffer): void {
  const intake = intakes.get(body);
  if (intake === undefined) context.intake.giveWhole(body.length);
  else intake.close();
}

/** Bodies that have an intake of their own. */
const intakes = new WeakMap<Buffer, Intake>();

/**
 * As {@link withBody}, for whoever calls {@link letGo} whatever happens: the way of every small append, which a function in
 * between would cost a promise or two. For the same reason there are listeners and no iterator.
 */
export function readBody(exchange: Exchange, bytesMax: number = exchange.context.limits.bodyBytesMax): Promise<Buffer> {
  const { req, context } = exchange;
  const declared = declaredLength(req);
  try {
    checkContentEncoding(req);
    if (declared !== undefined && declared > bytesMax) throw bodyTooLarge(bytesMax);
    if (req.readableEnded) {
      throw new MillraceError(
        'INVALID_REQUEST',
        'The body was read before it got here: mount Millrace before body parsers.',
      );
    }
  } catch (error) {
    return Promise.reject(error);
  }
  return new Promise((resolve, reject) => {
    /** A small body mostly comes in one piece. Others are gathered. */
    let whole: Buffer = EMPTY;
    let gathered: GatheredBody | undefined;
    let ended = false;
    req.on('data', (chunk: Buffer) => {
      if (gathered === undefined) {
        if (chunk.length === declared && context.intake.takeWhole(chunk.length)) {
          whole = chunk;
          return;
        }
        gathered = new GatheredBody(exchange, declared, bytesMax, (error) => {
          // What else comes is thrown away: a client that is still sending would not see an answer on a cut connection.
          req.removeAllListeners('data');
          req.resume();
          reject(error);
        });
      }
      gathered.add(chunk);
    });
    req.on('end', () => {
      ended = true;
      resolve(gathered === undefined ? whole : gathered.end());
    });
    // Node tells of an early end by this alone where nobody listens for errors.
    req.on('close', () => {
      if (ended) return;
      gathered?.drop();
      context.intake.giveWhole(whole.length);
      reject(aborted());
    });
  });
}

/** A body that comes in many pieces, or has to wait for room. */
class GatheredBody {
  readonly #bytesMax: number;
  readonly #intake: Intake;
  readonly #onFailed: (error: MillraceError) => void;
  /**
   * Put together at the end, also where the length is known: as long as a body waits for its turn it takes no more than
   * what of it is here. Memory for all of it would cost nothing only where it is new to the process.
   */
  readonly #pieces = new Pieces();
  #size = 0;
  #over = false;

  constructor(
    { req, context }: Exchange,
    declared: number | undefined,
    bytesMax: number,
    onFailed: (error: MillraceError) => void,
  ) {
    this.#bytesMax = bytesMax;
    this.#onFailed = onFailed;
    this.#intake = context.intake.open(
      {
        onFull: (full) => void (full ? req.pause() : req.resume()),
        onRefused: (error) => this.#fail(error),
      },
      clientAddress(req.socket),
    );
    if (declared !== undefined) this.#intake.expect(declared);
  }

  add(chunk: Buffer): void {
    if (this.#over) return;
    if (this.#size + chunk.length > this.#bytesMax) {
      this.#fail(bodyTooLarge(this.#bytesMax));
      return;
    }
    this.#pieces.add(chunk);
    this.#size += chunk.length;
    this.#intake.take(chunk.length);
  }

  end(): Buffer {
    this.#over = true;
    const body = this.#pieces.join();
    if (body.length === 0) this.#intake.close();
    else intakes.set(body, this.#intake);
    return body;
  }

  drop(): void {
    this.#over = true;
    this.#pieces.clear();
    this.#intake.close();
  }

  #fail(error: MillraceError): void {
    if (this.#over) return;
    this.drop();
    this.#onFailed(error);
  }
}

function declaredLength(req: IncomingMessage): number | undefined {
  const declared = req.headers['content-length'];
  return declared === undefined ? undefined : Number(declared);
}

/**
 * Refuses a body that was compressed on its way: what a stream holds must not depend on how it came, and kept as it is
 * nobody could read it. Errors: `CONTENT_ENCODING_UNSUPPORTED`.
 */
export function checkContentEncoding(req: IncomingMessage): void {
  const codings = req.headers['content-encoding'];
  if (codings === undefined || codings.split(',').every((coding) => /^\s*(identity\s*)?$/i.test(coding))) return;
  throw new MillraceError(
    'CONTENT_ENCODING_UNSUPPORTED',
    'The body has a Content-Encoding: send it as it is, without compression.',
  );
}

function bodyTooLarge(bodyBytesMax: number): MillraceError {
  return new MillraceError(
    'BODY_TOO_LARGE',
    `The body has more than ${bodyBytesMax} bytes: send it in several appends.`,
    { bodyBytesMax },
  );
}

function aborted(): MillraceError {
  return new MillraceError('ABORTED', 'The client went away before its whole body was here.');
}
