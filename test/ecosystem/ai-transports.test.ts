import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createDurableChatTransport, toDurableStreamResponse } from '@durable-streams/aisdk-transport';
import {
  durableStreamConnection,
  ensureDurableChatSessionStream,
  toDurableChatSessionResponse,
} from '@durable-streams/tanstack-ai-transport';
import type { UIMessage, UIMessageChunk } from 'ai';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serve, stopAll, temporaryDirectory } from '../cli/commands.js';

/** The transports that chat applications take for the AI SDK of Vercel and for TanStack AI. */

let millraceUrl: string;
const applications: Server[] = [];

beforeEach(async () => {
  millraceUrl = (await serve('--root', join(await temporaryDirectory(), 'root'))).url;
});

afterEach(async () => {
  for (const server of applications.splice(0)) server.close().closeAllConnections();
  await stopAll();
});

/** A route of an application, as a web-standard function. Answers its URL. */
async function route(answer: (request: Request) => Promise<Response>): Promise<string> {
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    const method = req.method ?? 'GET';
    const body = method === 'GET' ? {} : { body: Buffer.concat(chunks) };
    const response = await answer(new Request(`http://application${req.url}`, { method, ...body }));
    res.writeHead(response.status, Object.fromEntries(response.headers)).end(await response.text());
  }).listen(0, '127.0.0.1');
  applications.push(server);
  await new Promise((resolve) => server.once('listening', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/chat`;
}

async function* words(...texts: readonly string[]): AsyncGenerator<UIMessageChunk> {
  yield { type: 'text-start', id: 't' };
  for (const delta of texts) yield { type: 'text-delta', id: 't', delta };
  yield { type: 'text-end', id: 't' };
}

async function textOf(chunks: ReadableStream<UIMessageChunk>): Promise<string> {
  let text = '';
  for await (const chunk of chunks) if (chunk.type === 'text-delta') text += chunk.delta;
  return text;
}

describe('the transport for the AI SDK', () => {
  it('streams an answer through a stream, and again to one who comes back', async () => {
    const streamUrl = `${millraceUrl}/chats/1/answer`;
    const api = await route(async (request) =>
      request.method === 'GET'
        ? Response.json({ streamUrl })
        : toDurableStreamResponse({ source: words('Hello', ' ', 'there'), stream: { writeUrl: streamUrl } }),
    );
    const transport = createDurableChatTransport({ api });
    const asked: UIMessage = { id: 'm', role: 'user', parts: [{ type: 'text', text: 'Hi' }] };
    const answer = await transport.sendMessages({
      trigger: 'submit-message',
      chatId: '1',
      messageId: undefined,
      messages: [asked],
      abortSignal: undefined,
    });
    expect(await textOf(answer)).toBe('Hello there');
    const again = await transport.reconnectToStream({ chatId: '1' });
    expect(await textOf(again as ReadableStream<UIMessageChunk>)).toBe('Hello there');
  });
});

describe('the transport for TanStack AI', () => {
  it('keeps a session in a stream: late subscribers get what was said, then what is said', async () => {
    const writeUrl = `${millraceUrl}/sessions/1`;
    await ensureDurableChatSessionStream({ writeUrl });
    const say = async (messageId: string, question: string, delta: string) => {
      async function* answer() {
        yield { type: 'TEXT_MESSAGE_START', messageId, role: 'assistant' };
        yield { type: 'TEXT_MESSAGE_CONTENT', messageId, delta };
        yield { type: 'TEXT_MESSAGE_END', messageId };
      }
      const newMessages = [{ id: `${messageId}-asked`, role: 'user', parts: [{ type: 'text', text: question }] }];
      const stream = { writeUrl };
      await toDurableChatSessionResponse({ stream, newMessages, responseStream: answer(), mode: 'await' });
    };
    await say('a1', 'Hi', 'Hello');
    const stop = new AbortController();
    const said: string[] = [];
    const connection = durableStreamConnection({ sendUrl: writeUrl, readUrl: writeUrl });
    for await (const chunk of connection.subscribe(stop.signal)) {
      if (chunk.type === 'MESSAGES_SNAPSHOT') {
        expect(chunk.messages).toMatchObject([
          { role: 'user', parts: [{ content: 'Hi' }] },
          { role: 'assistant', parts: [{ content: 'Hello' }] },
        ]);
        void say('a2', 'Bye', 'Farewell');
      }
      if (chunk.type === 'TEXT_MESSAGE_CONTENT') said.push(chunk.delta);
      if (chunk.type === 'TEXT_MESSAGE_END' && chunk.messageId === 'a2') break;
    }
    stop.abort();
    expect(said).toEqual(['Bye', 'Farewell']);
  });

  // Its adapter for runs names a stream by one segment that holds a slash.
  it('has a stream of its own for runs%2Frun1', async () => {
    const json = { 'content-type': 'application/json' };
    const put = (path: string) => fetch(`${millraceUrl}${path}`, { method: 'PUT', headers: json });
    expect((await put('/streams/runs%2Frun1')).status).toBe(201);
    expect((await put('/streams/runs/run1')).status).toBe(201);
    const body = JSON.stringify({ type: 'RUN_STARTED' });
    await fetch(`${millraceUrl}/streams/runs%2Frun1`, { method: 'POST', headers: json, body });
    expect(await (await fetch(`${millraceUrl}/streams/runs%2Frun1?offset=-1`)).json()).toEqual([
      { type: 'RUN_STARTED' },
    ]);
    expect(await (await fetch(`${millraceUrl}/streams/runs/run1?offset=-1`)).json()).toEqual([]);
  });
});
