// Reads a stream with reqwest-eventsource. Prints one line an event: id, event, data.
// The library reconnects by itself, but an event without an id (a ping) makes it forget the last one. So this program
// keeps the id, and opens a new source after every end.
use futures::StreamExt;
use reqwest_eventsource::{Error, Event, EventSource};
use std::{env, time::Duration};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (url, token) = (env::var("TIDINGS_URL").expect("TIDINGS_URL"), env::var("TIDINGS_TOKEN").expect("TIDINGS_TOKEN"));
    // Nothing heard for two heartbeats: the line is dead.
    let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).read_timeout(Duration::from_secs(30)).build().expect("a client");
    let (mut last_id, mut retry) = (String::new(), Duration::from_secs(3));
    loop {
        let mut request = client.get(&url).bearer_auth(&token);
        if !last_id.is_empty() {
            request = request.header("Last-Event-ID", &last_id);
        }
        let mut source = EventSource::new(request).expect("a request that can be sent again");
        loop {
            match source.next().await {
                Some(Ok(Event::Open)) => {}
                Some(Ok(Event::Message(message))) => {
                    retry = message.retry.unwrap_or(retry);
                    if !message.id.is_empty() {
                        last_id = message.id.clone();
                    }
                    println!("{}\t{}\t{}", message.id, message.event, message.data);
                }
                Some(Err(Error::InvalidStatusCode(status, _))) if status.as_u16() == 204 => return, // ended for good: logged out, or replaced
                Some(Err(Error::InvalidStatusCode(status, _))) if status.as_u16() == 401 || status.as_u16() == 403 => {
                    eprintln!("refused: {status}");
                    std::process::exit(1);
                }
                Some(Err(_)) | None => break,
            }
        }
        source.close();
        tokio::time::sleep(retry).await;
    }
}
