/** The type of a stream that nobody gave one, by the extension of its path. */
export function contentTypeOf(path: string): string {
  const dot = path.lastIndexOf('.');
  // A dot that begins a name begins no extension.
  if (dot > path.lastIndexOf('/') + 1) {
    const type = BY_EXTENSION[path.slice(dot + 1).toLowerCase()];
    if (type !== undefined) return type;
  }
  return 'application/octet-stream';
}

/** `Text/Plain; charset=utf-8` → `text/plain`: what decides whether two types are the same. */
export function mediaType(contentType: string): string {
  const end = contentType.indexOf(';');
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
}

/** Streams of this type are made of messages. */
export const JSON_TYPE = 'application/json';

const BY_EXTENSION: Readonly<Record<string, string>> = {
  txt: 'text/plain; charset=utf-8',
  log: 'text/plain; charset=utf-8',
  md: 'text/markdown; charset=utf-8',
  html: 'text/html; charset=utf-8',
  htm: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  mjs: 'text/javascript; charset=utf-8',
  csv: 'text/csv; charset=utf-8',
  xml: 'text/xml; charset=utf-8',
  json: 'application/json',
  ndjson: 'application/x-ndjson',
  jsonl: 'application/x-ndjson',
  svg: 'image/svg+xml',
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  ico: 'image/x-icon',
  pdf: 'application/pdf',
  mp3: 'audio/mpeg',
  mp4: 'video/mp4',
  webm: 'video/webm',
  wasm: 'application/wasm',
  zip: 'application/zip',
  gz: 'application/gzip',
};
