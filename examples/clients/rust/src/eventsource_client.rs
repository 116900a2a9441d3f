// Reads a stream with eventsource-client. Prints one line an event: id, event, data.
// The library reconnects with Last-Event-ID after a broken line; a clean end and a status other than 200 end it, so it
// stands in a loop.
use eventsource_client::{Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures::TryStreamExt;
use launchdarkly_sdk_transport::HyperTransport;
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
    let mut last_id = String::new();
    loop {
        let mut builder = ClientBuilder::for_url(&url)
            .expect("a URL")
            .header("Authorization", &format!("Bearer {token}"))
            .expect("a header")
            .reconnect(ReconnectOptions::reconnect(true).retry_initial(false).delay(Duration::from_secs(3)).build());
        if !last_id.is_empty() {
            builder = builder.last_event_id(last_id.clone());
        }
        let transport = HyperTransport::builder().connect_timeout(Duration::from_secs(10)).read_timeout(Duration::from_secs(30)).build_http().expect("a transport");
        let client = builder.build_with_transport(transport);
        let mut stream = client.stream();
        loop {
            match stream.try_next().await {
                Ok(Some(SSE::Event(event))) => {
                    if let Some(id) = &event.id {
                        last_id = id.clone();
                    }
                    println!("{}\t{}\t{}", event.id.unwrap_or_default(), event.event_type, event.data);
                }
                Ok(Some(SSE::Connected(details))) if details.response().status() == 204 => return, // ended for good: logged out, or replaced
                Ok(Some(_)) => {}
                Err(Error::UnexpectedResponse(response, _)) if is_final(response.status()) => {
                    eprintln!("refused: {}", response.status());
                    std::process::exit(1);
                }
                Err(Error::UnexpectedResponse(response, _)) => {
                    eprintln!("trying again: answered {}", response.status());
                    break;
                }
                Err(error) => {
                    eprintln!("trying again: {error}");
                    break;
                }
                Ok(None) => break,
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}
