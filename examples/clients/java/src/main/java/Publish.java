// Signs a token with the JDK alone, publishes over HTTP, and publishes straight through Redis with Jedis.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.net.ssl.SSLParameters;
import redis.clients.jedis.Jedis;

public class Publish {
  static String env(String name) {
    String value = System.getenv(name);
    if (value == null) throw new IllegalStateException(name + " is not set");
    return value;
  }

  static String base64(byte[] bytes) {
    return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
  }

  static String sign(String claims, String secret) throws Exception {
    String text = base64("{\"alg\":\"HS256\",\"typ\":\"JWT\"}".getBytes(StandardCharsets.UTF_8)) + "."
        + base64(claims.getBytes(StandardCharsets.UTF_8));
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(secret.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
    return text + "." + base64(mac.doFinal(text.getBytes(StandardCharsets.UTF_8)));
  }

  public static void main(String[] args) throws Exception {
    String to = env("TIDINGS_TO"); // for example user:42
    long now = System.currentTimeMillis() / 1000; // seconds: a token in milliseconds is refused
    String token = sign("{\"sub\":\"orders\",\"iat\":" + now + ",\"exp\":" + (now + 300) + ",\"scope\":\"notifications:publish\"}",
        env("JWT_SECRET"));

    HttpResponse<String> answer = HttpClient.newHttpClient().send(HttpRequest.newBuilder()
        .uri(URI.create(env("TIDINGS_BASE") + "/api/notifications"))
        .header("Authorization", "Bearer " + token)
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", "java-" + UUID.randomUUID())
        .timeout(Duration.ofSeconds(10))
        .POST(HttpRequest.BodyPublishers.ofString("{\"to\":\"" + to.replace("\\", "\\\\").replace("\"", "\\\"") + "\",\"data\":{\"from\":\"java http\"}}"))
        .build(), HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() != 202) throw new IllegalStateException(answer.body());
    Matcher id = Pattern.compile("\"id\":\"(\\d+)\"").matcher(answer.body());
    id.find();

    SSLParameters tls = new SSLParameters();
    tls.setEndpointIdentificationAlgorithm("HTTPS"); // the library would take a certificate of any host
    try (Jedis redis = new Jedis(URI.create(env("REDIS_URL")), null, tls, null)) {
      List<?> reply = (List<?>) redis.fcall("tidings_publish", List.of("tidings"), List.of(to, "message", "{\"from\":\"java redis\"}"));
      Object published = reply.get(0);
      System.out.println(id.group(1) + " " + (published instanceof byte[] ? new String((byte[]) published, StandardCharsets.UTF_8) : published));
    }
  }
}
