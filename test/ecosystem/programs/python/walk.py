"""Walks through a Durable Streams server with the official Python client, unmodified. Prints what it saw as JSON."""

import json
import sys
import threading

from durable_streams import DurableStream, SeqConflictError, StreamExistsError, StreamNotFoundError, stream

base = sys.argv[1]
seen: dict[str, object] = {}


def raises(error: type[Exception], action) -> bool:
    try:
        action()
    except error:
        return True
    return False


def follow(handle: DurableStream, mode: str, offset: str, more: str) -> str:
    """Reads live, appends meanwhile, and answers what came by that."""
    threading.Timer(0.1, lambda: handle.append(more)).start()
    text = ""
    with stream(handle.url, offset=offset, live=mode) as response:
        for piece in response.iter_text():
            text += piece
            if len(text) >= len(more):
                return text
    return text


text = DurableStream.create(f"{base}/python/text", content_type="text/plain", ttl_seconds=3600)
text.append("one ", seq="a")
text.append("two ", seq="b")
seen["sequenceConflict"] = raises(SeqConflictError, lambda: text.append("late", seq="a"))
seen["existsWithAnotherType"] = raises(
    StreamExistsError, lambda: DurableStream.create(f"{base}/python/text", content_type="text/html")
)
with text.stream(live=False) as response:
    seen["text"] = response.read_text()
seen["longPoll"] = follow(text, "long-poll", text.head().offset, "three ")
seen["sse"] = follow(text, "sse", text.head().offset, "four ")
head = text.head()
seen["type"] = head.content_type
with text.stream(offset=head.offset, live=False) as response:
    seen["headIsAtTheTail"] = response.read_text() == ""

messages = DurableStream.create(f"{base}/python/messages", content_type="application/json")
messages.append({"n": 1})
messages.append({"n": 2})
with messages.stream(live=False) as response:
    seen["messages"] = response.read_json()

text.delete()
seen["gone"] = raises(StreamNotFoundError, text.head)
print(json.dumps(seen))
