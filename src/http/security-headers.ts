/**
 * Header fields of every response. Streams are data, never pages of this origin: no sniffing; any site may read them
 * (the Durable Streams protocol asks for both, "Browser Security Headers").
 */
export const baseHeaders = {
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'cross-origin',
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': [
    'Content-Range',
    'ETag',
    'Location',
    'Producer-Epoch',
    'Producer-Seq',
    'Producer-Expected-Seq',
    'Producer-Received-Seq',
    'Stream-Closed',
    'Stream-Cursor',
    'Stream-Expires-At',
    'Stream-Fork-Offset',
    'Stream-Fork-Sub-Offset',
    'Stream-Forked-From',
    'Stream-Next-Offset',
    'Stream-SSE-Data-Encoding',
    'Stream-TTL',
    'Stream-Up-To-Date',
  ].join(', '),
} as const;

/** The answer to a CORS preflight. */
export const preflightHeaders = {
  ...baseHeaders,
  'Access-Control-Allow-Methods': 'GET, HEAD, PUT, POST, DELETE, OPTIONS',
  'Access-Control-Allow-Headers': [
    'Authorization',
    'Content-Type',
    'If-None-Match',
    'Producer-Epoch',
    'Producer-Id',
    'Producer-Seq',
    'Range',
    'Stream-Closed',
    'Stream-Expires-At',
    'Stream-Fork-Offset',
    'Stream-Fork-Sub-Offset',
    'Stream-Forked-From',
    'Stream-Seq',
    'Stream-TTL',
    'X-Verb',
  ].join(', '),
  'Access-Control-Max-Age': '86400',
} as const;
