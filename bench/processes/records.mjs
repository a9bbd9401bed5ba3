/** Bytes of a record. */
export const RECORD_BYTES = 100;

/** The last byte of the last record: no other record has it. */
export const END = 'E'.charCodeAt(0);

const ordinary = Buffer.alloc(RECORD_BYTES, '.');
const last = Buffer.alloc(RECORD_BYTES, '.');
last[RECORD_BYTES - 1] = END;

export function record(isLast) {
  return isLast ? last : ordinary;
}
