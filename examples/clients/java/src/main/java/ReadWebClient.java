// Reads a stream with Spring's WebClient. Prints one line an event: id, event, data.
// The library does not reconnect, waits for ever on a silent connection, and fails at an event of more than 256 KB,
// each of them unless told otherwise. It also hands out the half of an event after which a stream ends.
import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.net.URI;
import java.time.Duration;
import org.springframework.core.ParameterizedTypeReference;
import org.springframework.core.io.buffer.DataBuffer;
import org.springframework.core.io.buffer.DataBufferUtils;
import org.springframework.core.io.buffer.DefaultDataBufferFactory;
import org.springframework.http.MediaType;
import org.springframework.http.codec.ServerSentEvent;
import org.springframework.web.reactive.function.client.ExchangeFilterFunction;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.reactive.function.client.WebClientResponseException;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

public class ReadWebClient {
  static String lastId = "";
  static Duration retry = Duration.ofSeconds(3);

  static String env(String name) {
    String value = System.getenv(name);
    if (value == null) throw new IllegalStateException(name + " is not set");
    return value;
  }

  /** 401 and 403: get another token. 404: look at the URL. 408 and 429 pass. */
  static boolean isFinal(int status) {
    return status >= 400 && status < 500 && status != 408 && status != 429;
  }

  /** Whole events only. Latin-1 has a character for each byte. */
  static Flux<DataBuffer> whole(Flux<DataBuffer> pieces) {
    StringBuilder held = new StringBuilder();
    return pieces.handle((piece, next) -> {
      held.append(piece.toString(ISO_8859_1));
      DataBufferUtils.release(piece);
      int end = held.lastIndexOf("\n\n") + 2;
      if (end < 2) return;
      next.next(DefaultDataBufferFactory.sharedInstance.wrap(held.substring(0, end).getBytes(ISO_8859_1)));
      held.delete(0, end);
    });
  }

  static void print(ServerSentEvent<String> event) {
    if (event.id() != null) lastId = event.id();
    if (event.retry() != null) retry = event.retry();
    if (event.data() == null) return; // a comment
    String id = event.id() == null ? "" : event.id();
    System.out.println(id + "\t" + (event.event() == null ? "message" : event.event()) + "\t" + event.data());
  }

  public static void main(String[] args) throws InterruptedException {
    URI url = URI.create(env("TIDINGS_URL")); // in a String it would encode each % again
    String token = env("TIDINGS_TOKEN");
    WebClient client = WebClient.builder()
        .codecs(codecs -> codecs.defaultCodecs().maxInMemorySize(16 << 20))
        .filter(ExchangeFilterFunction.ofResponseProcessor(answer -> Mono.just(answer.mutate().body(ReadWebClient::whole).build())))
        .build();
    while (true) {
      try {
        var answer = client.get().uri(url).accept(MediaType.TEXT_EVENT_STREAM)
            .headers(headers -> {
              headers.setBearerAuth(token);
              if (!lastId.isEmpty()) headers.set("Last-Event-ID", lastId);
            })
            .retrieve().toEntityFlux(new ParameterizedTypeReference<ServerSentEvent<String>>() {}).block(Duration.ofSeconds(10));
        if (answer.getStatusCode().value() == 204) System.exit(0); // ended for good: logged out, or replaced
        answer.getBody().timeout(Duration.ofSeconds(30)).doOnNext(ReadWebClient::print).blockLast();
      } catch (WebClientResponseException error) {
        if (isFinal(error.getStatusCode().value())) {
          System.err.println("refused: " + error.getStatusCode().value());
          System.exit(1);
        }
        System.err.println("trying again: " + error.getMessage());
      } catch (RuntimeException error) {
        System.err.println("trying again: " + error);
      }
      Thread.sleep(retry.toMillis());
    }
  }
}
