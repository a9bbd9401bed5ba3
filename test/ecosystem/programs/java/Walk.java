import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;

/**
 * Walks through a server with the HTTP client of Java itself, set up as it comes: it asks for HTTP/2 by an `Upgrade`
 * with the first request of each connection, bodies included. The official Java client is built on it.
 */
public class Walk {
  static final HttpClient client = HttpClient.newHttpClient();
  static String base;

  static HttpRequest.Builder request(String path) {
    return HttpRequest.newBuilder(URI.create(base + path)).timeout(Duration.ofSeconds(60));
  }

  static HttpResponse<String> send(String method, String path, BodyPublisher body, String type) throws Exception {
    HttpRequest.Builder builder = request(path).method(method, body);
    if (type != null) builder.header("Content-Type", type);
    return client.send(builder.build(), BodyHandlers.ofString());
  }

  static void print(String name, Object value) {
    System.out.println(name + "=" + value);
  }

  public static void main(String[] args) throws Exception {
    base = args[0];
    print("put", send("PUT", "/java/text", BodyPublishers.ofString("one "), "text/plain").statusCode());
    print("post", send("POST", "/java/text", BodyPublishers.ofString("two "), "text/plain").statusCode());
    print("read", send("GET", "/java/text?offset=-1", BodyPublishers.noBody(), null).body());

    byte[] large = new byte[3_000_000];
    for (int i = 0; i < large.length; i++) large[i] = (byte) ('a' + i % 26);
    print("putEmpty", send("PUT", "/java/large", BodyPublishers.noBody(), "application/octet-stream").statusCode());
    // A client of its own, so that the large body comes with the first request of a connection, beside the `Upgrade`.
    HttpRequest upload = request("/java/large").header("Content-Type", "application/octet-stream")
        .POST(BodyPublishers.ofByteArray(large)).build();
    print("postLarge", HttpClient.newHttpClient().send(upload, BodyHandlers.discarding()).statusCode());
    byte[] back = client.send(request("/java/large").build(), BodyHandlers.ofByteArray()).body();
    print("largeIsTheSame", java.util.Arrays.equals(large, back));

    CompletableFuture<HttpResponse<String>> poll = client.sendAsync(
        request("/java/text?offset=now&live=long-poll").build(), BodyHandlers.ofString());
    String tail = send("HEAD", "/java/text", BodyPublishers.noBody(), null).headers().firstValue("Stream-Next-Offset").get();
    HttpRequest events = request("/java/text?live=sse&offset=" + tail).header("Accept", "text/event-stream").build();
    InputStream body = client.send(events, BodyHandlers.ofInputStream()).body();
    send("POST", "/java/text", BodyPublishers.ofString("three"), "text/plain");
    StringBuilder text = new StringBuilder();
    byte[] buffer = new byte[4096];
    while (!text.toString().contains("data:three")) {
      int count = body.read(buffer);
      if (count < 0) break;
      text.append(new String(buffer, 0, count));
    }
    body.close();
    print("sse", text.toString().contains("data:three"));
    // It may have asked before or after the append: then the answer is that append, or nothing new.
    poll.cancel(true);

    print("delete", send("DELETE", "/java/text", BodyPublishers.noBody(), null).statusCode());
    print("gone", send("GET", "/java/text", BodyPublishers.noBody(), null).statusCode());
    print("version", client.send(request("/-/health").build(), BodyHandlers.discarding()).version());
    System.exit(0);
  }
}
