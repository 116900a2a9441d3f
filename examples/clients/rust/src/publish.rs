// Signs a token, publishes over HTTP, and publishes straight through Redis.
use jsonwebtoken::{encode, EncodingKey, Header};
use serde_json::{json, Value};
use std::{collections::hash_map::RandomState, env, hash::{BuildHasher, Hasher}, time::{Duration, SystemTime, UNIX_EPOCH}};

fn setting(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let to = setting("TIDINGS_TO")?; // for example user:42
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({ "sub": "orders", "iat": now, "exp": now + 300, "scope": "notifications:publish" });
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(setting("JWT_SECRET")?.as_bytes()))?;

    // By chance, not by the process's id: that is 1 in every container.
    let key = format!("rust-{:016x}{:016x}", RandomState::new().build_hasher().finish(), RandomState::new().build_hasher().finish());
    let answer = reqwest::Client::new()
        .post(format!("{}/api/notifications", setting("TIDINGS_BASE")?))
        .timeout(Duration::from_secs(10))
        .bearer_auth(token)
        .header("Idempotency-Key", key)
        .header("Content-Type", "application/json")
        .body(json!({ "to": to, "data": { "from": "rust http" } }).to_string())
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    let answer: Value = serde_json::from_str(&answer)?;

    let mut connection = redis::Client::open(setting("REDIS_URL")?)?.get_connection_with_timeout(Duration::from_secs(10))?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?; // the library would wait for ever
    let (published, _nodes): (String, i64) = redis::cmd("FCALL")
        .arg("tidings_publish").arg(1).arg("tidings").arg(&to).arg("message").arg(r#"{"from":"rust redis"}"#)
        .query(&mut connection)?;
    println!("{} {published}", answer["notifications"][0]["id"].as_str().unwrap_or(""));
    Ok(())
}
