import { JsonScanner, type JsonScannerOptions } from '../wire/json-scanner.js';
import { SLICE_BYTES, turnBudget } from './turn-budget.js';

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

async function scanInSlices(scanner: JsonScanner): Promise<void> {
  do await turnBudget.take(SLICE_BYTES);
  while (!scanner.scan(SLICE_BYTES));
}
