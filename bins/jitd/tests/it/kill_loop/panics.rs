//! A daemon in which something panics while it has a credential in hand, with words that quote it: the
//! daemon goes on, the credential is in no log, no store and no audit (S15), and it ends, by the clock of
//! Vault at the latest.

use jit_testkit::time::SeededRandom;

use super::hostile::World;
use super::load::ANA;
use super::pause::{daemon, opens, people};
use crate::process::until;
use crate::secrets;

#[tokio::test(flavor = "multi_thread")]
async fn s15_a_panic_that_quotes_a_credential_tells_nobody_and_the_credential_ends() {
    let world = World::new();
    let (load, doors) = people(&world.site);
    let dice = SeededRandom::new(0);
    let (mut process, door) = daemon(&world.site, Some("panic after provider.mint"));
    opens(&doors, door);
    let id = load.asks("vault/gitlab", 10, &dice).await.unwrap();
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
    process.signal("TERM");
    assert_eq!(process.ends(), Some(0), "{:#?}", process.heard);
    let mut told = process.heard.iter();
    let told = told.any(|it| it.contains("a panic; this is a mistake in the program"));
    assert!(told, "nothing panicked: {:#?}", process.heard);
    assert!(secrets::are_looked_through(world.folder(), ANA));
    world.site.is_verified();
}
