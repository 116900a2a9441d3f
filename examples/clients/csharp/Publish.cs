// Signs a token, publishes over HTTP, and publishes straight through Redis.
// With StackExchange.Redis the last part is one line: db.Execute("FCALL", "tidings_publish", 1, "tidings", to, "message", json).
using System;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

static class Publish
{
    static string Env(string name) => Environment.GetEnvironmentVariable(name) ?? throw new InvalidOperationException(name + " is not set");
    static string Encode(byte[] bytes) => Convert.ToBase64String(bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_');

    static string Token()
    {
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var claims = $"{{\"sub\":\"orders\",\"iat\":{now},\"exp\":{now + 300},\"scope\":\"notifications:publish\"}}";
        var text = Encode(Encoding.UTF8.GetBytes("{\"alg\":\"HS256\",\"typ\":\"JWT\"}")) + "." + Encode(Encoding.UTF8.GetBytes(claims));
        using (var hmac = new HMACSHA256(Encoding.UTF8.GetBytes(Env("JWT_SECRET")))) return text + "." + Encode(hmac.ComputeHash(Encoding.UTF8.GetBytes(text)));
    }

    static string OverHttp(string to)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, Env("TIDINGS_BASE") + "/api/notifications");
        request.Headers.Add("Authorization", "Bearer " + Token());
        request.Headers.Add("Idempotency-Key", "csharp-" + Guid.NewGuid());
        var quoted = to.Replace("\\", "\\\\").Replace("\"", "\\\"");
        request.Content = new StringContent($"{{\"to\":\"{quoted}\",\"data\":{{\"from\":\"csharp http\"}}}}", Encoding.UTF8, "application/json");
        using (var response = new HttpClient().SendAsync(request).Result)
        {
            var body = response.Content.ReadAsStringAsync().Result;
            if ((int)response.StatusCode != 202) throw new Exception(body);
            return Regex.Match(body, "\"id\":\"(\\d+)\"").Groups[1].Value;
        }
    }

    static void Send(Stream stream, StreamReader reader, string expected, params string[] command)
    {
        var text = $"*{command.Length}\r\n" + string.Concat(command.Select(part => $"${Encoding.UTF8.GetByteCount(part)}\r\n{part}\r\n"));
        var bytes = Encoding.UTF8.GetBytes(text);
        stream.Write(bytes, 0, bytes.Length);
        var head = reader.ReadLine();
        if (head != expected) throw new Exception(head);
    }

    static string ThroughRedis(string to)
    {
        var url = new Uri(Env("REDIS_URL"));
        if (url.Scheme != "redis") throw new InvalidOperationException("REDIS_URL must begin with redis://, as this program speaks no TLS");
        using (var client = new TcpClient(url.Host, url.IsDefaultPort ? 6379 : url.Port))
        using (var stream = client.GetStream())
        using (var reader = new StreamReader(stream))
        {
            stream.ReadTimeout = 10000; // it would wait for ever
            var login = url.UserInfo.Split(new[] { ':' }, 2).Select(Uri.UnescapeDataString).ToArray();
            if (login.Length == 2) Send(stream, reader, "+OK", "AUTH", login[0] == "" ? "default" : login[0], login[1]);
            var database = url.AbsolutePath.Trim('/');
            // Users for services need no right to SELECT in database 0.
            if (database != "" && database != "0") Send(stream, reader, "+OK", "SELECT", database);
            Send(stream, reader, "*2", "FCALL", "tidings_publish", "1", "tidings", to, "message", "{\"from\":\"csharp redis\"}");
            reader.ReadLine();
            return reader.ReadLine();
        }
    }

    static void Main()
    {
        var to = Env("TIDINGS_TO"); // for example user:42
        Console.WriteLine(OverHttp(to) + " " + ThroughRedis(to));
    }
}
