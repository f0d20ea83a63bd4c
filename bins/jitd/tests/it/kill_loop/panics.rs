//! A daemon in which something panics while it has a credential in hand, with words that quote it: the
//! daemon goes on, the credential is in no log, no store and no audit (S15), and it ends, by the clock of
//! Vault at the latest.

use jit_testkit::time::SeededRandom;

use super::hostile::World;
use super::load::ANA;
use super::pause::{daemon, opens, people};
use crate::process::{Process, until};
use crate::secrets;

#[tokio::test(flavor = "multi_thread")]
async fn s15_a_panic_that_quotes_a_credential_tells_nobody_and_the_credential_ends() {
    let world = World::new();
    let (load, doors) = people(&world.site);
    let dice = SeededRandom::new(0);
    let (mut process, door) = daemon(&world.site, Some("panic after provider.mint"));
    opens(&doors, door);
    let id = load.asks("vault/gitlab", 15, &dice).await.unwrap();
    assert!(load.approves(&id).await);
    load.collects(&id, &dice).await;
    let minted = world.tokens();
    assert!(minted.iter().any(|it| it.display_name.contains(&id)));
    // What was minted is looked for in whatever the process said and wrote, when it ends.
    for token in &minted {
        secrets::called_with(&token.id);
    }
    until("it ended", async || {
        let accesses = world.accesses();
        !accesses.is_empty() && accesses.iter().all(|it| it.until.is_some())
    })
    .await;
    load.winds_up().await;
    let seen = load.sees().await;
    assert_eq!(load.problems(&seen), [""; 0]);
    has_said(&mut process, "a panic; this is a mistake in the program");
    assert!(secrets::are_looked_through(world.folder(), ANA));
    world.site.is_verified();
}

/// Whatever it said, and what it counts, is looked through when it is dropped.
fn has_said(process: &mut Process, words: &str) {
    process.listens();
    let mut said = process.heard.iter();
    assert!(said.any(|it| it.contains(words)), "{:#?}", process.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_a_worker_that_panics_with_secrets_in_its_words_tells_nobody_and_takes_the_access_away()
{
    let world = World::new();
    let (load, doors) = people(&world.site);
    let dice = SeededRandom::new(0);
    let (mut process, door) = daemon(&world.site, Some("panic before provider.revoke"));
    opens(&doors, door);
    let id = load.asks("okta/admins", 5, &dice).await.unwrap();
    assert!(load.approves(&id).await);
    until("it was given, and is gone", async || {
        let accesses = world.accesses();
        !accesses.is_empty() && accesses.iter().all(|it| it.until.is_some())
    })
    .await;
    load.winds_up().await;
    has_said(&mut process, "tending a record panicked");
    world.site.is_verified();
}
