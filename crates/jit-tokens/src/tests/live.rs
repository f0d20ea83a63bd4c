//! Tokens of a real Home Assistant, for whoever has one: nothing of it runs unless it is asked for. The
//! lane `--deep` starts one.

use std::sync::Arc;

use jit_core::ports::{Clock, Effect, ErrorKind};
use reqwest::StatusCode;

use super::{Kept, clock, mint, settings, target};
use crate::Tokens;

const ASKED_FOR: &str = "JIT_LIVE_HOME_ASSISTANT";

#[expect(
    clippy::disallowed_methods,
    reason = "nobody configures a test that calls a real service"
)]
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|it| !it.is_empty())
}

fn needed(name: &str) -> String {
    said(name).unwrap_or_else(|| panic!("{ASKED_FOR} is set, and {name} is not"))
}

/// Whether it lets this token in.
async fn lets_in(url: &str, token: &str) -> bool {
    let address: jit_wire::Address = url.parse().unwrap();
    let wire = jit_wire::Wire::new(address.url()).unwrap();
    let asked = wire.pooled().get(format!("{url}/api/")).bearer_auth(token);
    asked.send().await.unwrap().status() == StatusCode::OK
}

#[tokio::test]
async fn e7_home_assistant_itself_makes_a_token_that_works() {
    if said(ASKED_FOR).is_none() {
        eprintln!("skipped: {ASKED_FOR} is not set; tests/run --deep starts a Home Assistant");
        return;
    }
    let url = needed("JIT_HOME_ASSISTANT_URL");
    let refresh_token = needed("JIT_HOME_ASSISTANT_REFRESH_TOKEN");
    let client_id = needed("JIT_HOME_ASSISTANT_CLIENT_ID");
    let clock = clock();
    let kept = Kept::with(&[("refresh_token", &refresh_token), ("client_id", &client_id)]);
    let tokens = Tokens::of_home_assistant(settings(&url, &Arc::clone(&kept), &clock)).unwrap();
    let on = target(&tokens, "access_token").await.unwrap();
    let minted = mint(&tokens, &on, clock.now(), 1).await.unwrap();
    let lives = minted.ends_at.unwrap().since(clock.now());
    assert_eq!(lives.as_secs(), 1_800, "as it is declared");
    assert!(lets_in(&url, minted.secret.expose()).await);
    assert!(!lets_in(&url, "another").await);

    // What a simulated one says to what is wrong, the real one says too: nothing was made.
    kept.set("refresh_token", "none of its own");
    let refused = mint(&tokens, &on, clock.now(), 2).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
    kept.set("refresh_token", &refresh_token);
    kept.set("client_id", "https://somebody-else.example.com/");
    let refused = mint(&tokens, &on, clock.now(), 3).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
    assert!(
        lets_in(&url, minted.secret.expose()).await,
        "the first one is untouched"
    );
    eprintln!("Home Assistant: a token was made and let in, and two refusals were understood");
}
