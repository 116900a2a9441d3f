// Reads a stream with reqwest-eventsource. Prints one line an event: id, event, data.
// The library reconnects by itself, but an event without an id (a ping) makes it forget the last one. So this program
// keeps the id, and opens a new source after every end.
use futures::StreamExt;
use reqwest_eventsource::{Error, Event, EventSource};
use std::{env, time::Duration};

/// 401 and 403: get another token. 404: look at the URL. 408 and 429 pass.
fn is_final(status: u16) -> bool {
    (400..500).contains(&status) && status != 408 && status != 429
}

fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        eprintln!("{name} is not set");
        std::process::exit(1)
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (url, token) = (setting("TIDINGS_URL"), setting("TIDINGS_TOKEN"));
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
                Some(Err(Error::InvalidStatusCode(status, _))) if is_final(status.as_u16()) => {
                    eprintln!("refused: {status}");
                    std::process::exit(1);
                }
                Some(Err(error)) => {
                    eprintln!("trying again: {error}");
                    break;
                }
                None => break,
            }
        }
        source.close();
        tokio::time::sleep(retry).await;
    }
}
