// Reads a stream with .NET's own HttpClient. Prints one line an event: id, event, data.
// What a library would do stands here: lines to events, Last-Event-ID, `retry:`, 204.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Http;
using System.Threading;
using System.Threading.Tasks;

static class Read
{
    /// <summary>Nothing heard for two heartbeats: the line is dead.</summary>
    static readonly TimeSpan Silence = TimeSpan.FromSeconds(30);
    static readonly HttpClient Client = new HttpClient { Timeout = Timeout.InfiniteTimeSpan };
    static string lastId;
    static TimeSpan retry = TimeSpan.FromSeconds(3);

    /// <summary>401 and 403: get another token. 404: look at the URL. 408 and 429 pass.</summary>
    static bool IsFinal(int status) => status >= 400 && status < 500 && status != 408 && status != 429;
    static string Env(string name) => Environment.GetEnvironmentVariable(name) ?? throw new InvalidOperationException(name + " is not set");

    static int Main() => Run().GetAwaiter().GetResult();

    static async Task<int> Run()
    {
        for (;;)
        {
            try
            {
                var status = await Once();
                if (status == HttpStatusCode.NoContent) return 0; // ended for good: logged out, or replaced
                if (IsFinal((int)status))
                {
                    Console.Error.WriteLine($"refused: {(int)status}");
                    return 1;
                }
                if (status != HttpStatusCode.OK) Console.Error.WriteLine($"answered {(int)status}: trying again");
            }
            catch (Exception error) when (error is HttpRequestException || error is IOException || error is TimeoutException || error is WebException)
            {
                Console.Error.WriteLine($"{error.Message}: trying again");
            }
            await Task.Delay(retry);
        }
    }

    /// <summary>One connection, to its end.</summary>
    static async Task<HttpStatusCode> Once()
    {
        var request = new HttpRequestMessage(HttpMethod.Get, Env("TIDINGS_URL"));
        request.Headers.Add("Accept", "text/event-stream");
        request.Headers.Add("Authorization", "Bearer " + Env("TIDINGS_TOKEN"));
        request.Headers.ConnectionClose = true; // a stream shares its connection with nobody
        if (lastId != null) request.Headers.Add("Last-Event-ID", lastId);
        using (var response = await Within(Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead)))
        {
            if (response.StatusCode != HttpStatusCode.OK) return response.StatusCode;
            using (var reader = new StreamReader(await response.Content.ReadAsStreamAsync()))
            {
                var data = new List<string>();
                string name = "message", id = null, line;
                while ((line = await Within(reader.ReadLineAsync())) != null)
                {
                    if (line == "")
                    {
                        lastId = id ?? lastId;
                        if (data.Count > 0) Console.WriteLine(string.Join("\t", id, name, string.Join("\n", data)));
                        data.Clear();
                        name = "message";
                        id = null;
                        continue;
                    }
                    var colon = line.IndexOf(':');
                    var field = colon < 0 ? line : line.Substring(0, colon);
                    var value = colon < 0 ? "" : line.Substring(colon + 1);
                    if (value.StartsWith(" ")) value = value.Substring(1);
                    if (field == "data") data.Add(value);
                    else if (field == "event") name = value;
                    else if (field == "id") id = value;
                    else if (field == "retry" && int.TryParse(value, out var ms)) retry = TimeSpan.FromMilliseconds(ms);
                }
            }
            return HttpStatusCode.OK;
        }
    }

    static async Task<T> Within<T>(Task<T> task)
    {
        if (await Task.WhenAny(task, Task.Delay(Silence)) != task) throw new TimeoutException();
        return await task;
    }
}
