// Walks through a Durable Streams server with the official Go client, unmodified. Prints what it saw as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	ds "github.com/durable-streams/durable-streams/packages/client-go"
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// readAll reads what there is from an offset on.
func readAll(ctx context.Context, stream *ds.Stream, options ...ds.ReadOption) (string, ds.Offset) {
	chunks := stream.Read(ctx, options...)
	defer chunks.Close()
	text := ""
	for {
		chunk, err := chunks.Next()
		if errors.Is(err, ds.Done) {
			return text, chunks.Offset
		}
		check(err)
		text += string(chunk.Data)
	}
}

// follow reads live, appends once it is up to date, and answers what came by that.
func follow(ctx context.Context, stream *ds.Stream, mode ds.LiveMode, from ds.Offset, more string) string {
	chunks := stream.Read(ctx, ds.WithOffset(from), ds.WithLive(mode))
	defer chunks.Close()
	go func() {
		time.Sleep(100 * time.Millisecond)
		must(stream.Append(ctx, []byte(more)))
	}()
	text := ""
	for len(text) < len(more) {
		text += string(must(chunks.Next()).Data)
	}
	return text
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := ds.NewClient()
	seen := map[string]any{}

	text := client.Stream(os.Args[1] + "/go/text")
	check(text.Create(ctx, ds.WithContentType("text/plain"), ds.WithTTL(time.Hour)))
	must(text.Append(ctx, []byte("one "), ds.WithSeq("a")))
	must(text.Append(ctx, []byte("two "), ds.WithSeq("b")))
	_, err := text.Append(ctx, []byte("late"), ds.WithSeq("a"))
	seen["sequenceConflict"] = errors.Is(err, ds.ErrSeqConflict)
	seen["existsWithAnotherType"] = errors.Is(text.Create(ctx, ds.WithContentType("text/html")), ds.ErrStreamExists)
	all, offset := readAll(ctx, text)
	seen["text"] = all
	seen["longPoll"] = follow(ctx, text, ds.LiveModeLongPoll, offset, "three ")
	_, offset = readAll(ctx, text)
	seen["sse"] = follow(ctx, text, ds.LiveModeSSE, offset, "four ")
	head := must(text.Head(ctx))
	seen["type"] = head.ContentType
	_, offset = readAll(ctx, text)
	seen["headIsAtTheTail"] = head.NextOffset == offset

	messages := client.Stream(os.Args[1] + "/go/messages")
	check(messages.Create(ctx, ds.WithContentType("application/json")))
	must(messages.AppendJSON(ctx, map[string]int{"n": 1}))
	must(messages.AppendJSON(ctx, map[string]int{"n": 2}))
	sum := 0
	for message, err := range ds.JSONItems[map[string]int](ctx, messages) {
		check(err)
		sum = sum*10 + message["n"]
	}
	seen["messages"] = sum

	check(text.Delete(ctx))
	_, err = text.Head(ctx)
	seen["gone"] = errors.Is(err, ds.ErrStreamNotFound)
	check(json.NewEncoder(os.Stdout).Encode(seen))
}
