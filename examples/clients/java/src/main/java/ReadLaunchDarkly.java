// Reads a stream with okhttp-eventsource. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID and follows `retry:`. It takes 204 for an empty stream, so an interceptor
// looks.
import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.StreamEvent;
import com.launchdarkly.eventsource.StreamHttpErrorException;
import java.net.URI;
import java.util.concurrent.TimeUnit;
import okhttp3.Response;

public class ReadLaunchDarkly {
  public static void main(String[] args) throws Exception {
    EventSource source = new EventSource.Builder(
        ConnectStrategy.http(URI.create(System.getenv("TIDINGS_URL")))
            .header("Authorization", "Bearer " + System.getenv("TIDINGS_TOKEN"))
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
      } else if (event instanceof FaultEvent && ((FaultEvent) event).getCause() instanceof StreamHttpErrorException) {
        int status = ((StreamHttpErrorException) ((FaultEvent) event).getCause()).getCode();
        if (status == 401 || status == 403) {
          System.err.println("refused: " + status);
          System.exit(1);
        }
      }
    }
  }
}
