// Reads a stream with okhttp-eventsource. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID and follows `retry:`. It takes 204 for an empty stream, so an interceptor
// looks.
import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.StreamEvent;
import com.launchdarkly.eventsource.StreamException;
import com.launchdarkly.eventsource.StreamHttpErrorException;
import java.net.URI;
import java.util.concurrent.TimeUnit;
import okhttp3.Response;

public class ReadLaunchDarkly {
  static String env(String name) {
    String value = System.getenv(name);
    if (value == null) throw new IllegalStateException(name + " is not set");
    return value;
  }

  /** 401 and 403: get another token. 404: look at the URL. 408 and 429 pass. */
  static boolean isFinal(int status) {
    return status >= 400 && status < 500 && status != 408 && status != 429;
  }

  public static void main(String[] args) throws Exception {
    EventSource source = new EventSource.Builder(
        ConnectStrategy.http(URI.create(env("TIDINGS_URL")))
            .header("Authorization", "Bearer " + env("TIDINGS_TOKEN"))
            .readTimeout(30, TimeUnit.SECONDS)
            .clientBuilderActions(http -> http.addInterceptor(chain -> {
              Response response = chain.proceed(chain.request());
              if (response.code() == 204) System.exit(0); // ended for good: logged out, or replaced
              return response;
            })))
        .errorStrategy(ErrorStrategy.alwaysContinue())
        .retryDelay(3, TimeUnit.SECONDS)
        .build();
    for (StreamEvent event : source.anyEvents()) {
      if (event instanceof MessageEvent) {
        MessageEvent message = (MessageEvent) event;
        String id = message.getLastEventId();
        System.out.println((id == null ? "" : id) + "\t" + message.getEventName() + "\t" + message.getData());
      } else if (event instanceof FaultEvent) {
        StreamException cause = ((FaultEvent) event).getCause();
        int status = cause instanceof StreamHttpErrorException ? ((StreamHttpErrorException) cause).getCode() : 0;
        if (isFinal(status)) {
          System.err.println("refused: " + status);
          System.exit(1);
        }
        System.err.println("trying again: " + (status == 0 ? cause : "answered " + status));
      }
    }
  }
}
