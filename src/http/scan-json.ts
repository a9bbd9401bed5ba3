import { SLICE_BYTES, turnBudget } from '../turn-budget.js';
import { encodeJsonLines, JsonLineEncoder, type JsonLines } from '../wire/json.js';
import { JsonScanner, type JsonScannerOptions } from '../wire/json-scanner.js';

/**
 * Checks that bytes are JSON: small ones at once (undefined is answered), others in slices, while everybody else has their
 * turn. Errors: `INVALID_JSON`.
 */
export function scanJson(bytes: Uint8Array, options?: JsonScannerOptions): Promise<void> | undefined {
  const scanner = new JsonScanner(bytes, options);
  if (bytes.length > SLICE_BYTES) return scanInSlices(scanner);
  scanner.scan();
  return undefined;
}

/**
 * The messages of a body as lines: of a small one at once, of others in slices, while everybody else has their turn.
 * Errors: `INVALID_JSON`.
 */
export function jsonLinesOf(body: Uint8Array): JsonLines | Promise<JsonLines> {
  return body.length > SLICE_BYTES ? encodeInSlices(body) : encodeJsonLines(body);
}

async function encodeInSlices(body: Uint8Array): Promise<JsonLines> {
  const encoder = new JsonLineEncoder(body);
  for (;;) {
    await turnBudget.take(SLICE_BYTES);
    const lines = encoder.encode(SLICE_BYTES);
    if (lines !== undefined) return lines;
  }
}

async function scanInSlices(scanner: JsonScanner): Promise<void> {
  do await turnBudget.take(SLICE_BYTES);
  while (!scanner.scan(SLICE_BYTES));
}
