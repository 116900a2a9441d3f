// Reads a stream with okhttp-sse. Prints one line an event: id, event, data.
// The library does not reconnect, and OkHttp gives up after 10 s of silence unless told otherwise.
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

public class ReadOkHttp {
  static volatile String lastId = "";

  static String env(String name) {
    String value = System.getenv(name);
    if (value == null) throw new IllegalStateException(name + " is not set");
    return value;
  }

  /** 401 and 403: get another token. 404: look at the URL. 408 and 429 pass. */
  static boolean isFinal(int status) {
    return status >= 400 && status < 500 && status != 408 && status != 429;
  }

  public static void main(String[] args) throws InterruptedException {
    OkHttpClient client = new OkHttpClient.Builder().readTimeout(30, TimeUnit.SECONDS).build();
    while (true) {
      Request.Builder request = new Request.Builder().url(env("TIDINGS_URL"))
          .header("Authorization", "Bearer " + env("TIDINGS_TOKEN"));
      if (!lastId.isEmpty()) request.header("Last-Event-ID", lastId);
      CountDownLatch ended = new CountDownLatch(1);
      EventSources.createFactory(client).newEventSource(request.build(), new EventSourceListener() {
        @Override public void onEvent(EventSource source, String id, String type, String data) {
          if (id != null) lastId = id;
          System.out.println((id == null ? "" : id) + "\t" + (type == null ? "message" : type) + "\t" + data);
        }

        @Override public void onClosed(EventSource source) {
          ended.countDown();
        }

        @Override public void onFailure(EventSource source, Throwable error, Response response) {
          int status = response == null ? 0 : response.code();
          if (status == 204) System.exit(0); // ended for good: logged out, or replaced
          if (isFinal(status)) {
            System.err.println("refused: " + status);
            System.exit(1);
          }
          System.err.println("trying again: " + (status == 0 ? error : "answered " + status));
          ended.countDown();
        }
      });
      ended.await();
      Thread.sleep(3000);
    }
  }
}
