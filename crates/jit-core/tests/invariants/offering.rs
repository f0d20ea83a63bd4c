//! B1: what can be asked for is found, whether it is written down or its provider said that it has
//! it; and nothing is decided by a listing.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jit_core::Refusal;
use jit_core::catalog::Entitlement;
use jit_core::engine::{EngineError, NewRequest};
use jit_core::ports::{ErrorKind, Offer, PortError, Provisioner};
use jit_core::principal::Profile;
use jit_core::provider::{Parameters, Resolved};
use jit_core::request::Status;
use jit_testkit::front::{Front, Meddle};
use jit_testkit::hostile::HostileHandle;
use jit_testkit::stage::{Stage, id, secs, via};

/// A provider that has these things, or cannot be asked now.
struct Shop {
    inner: HostileHandle,
    shelf: Arc<Mutex<Option<Vec<String>>>>,
}

#[async_trait]
impl Meddle for Shop {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn offers(&self) -> Result<Vec<Offer>, PortError> {
        let away = || PortError::nothing_done("shop", "list", ErrorKind::Unavailable);
        let shelf = self.shelf.lock().unwrap().clone().ok_or_else(away)?;
        let offer = |name: String| Offer {
            resource: name.clone(),
            title: format!("Number {} of them", name.len()),
            name,
        };
        Ok(shelf.into_iter().map(offer).collect())
    }
}

type Shelf = Arc<Mutex<Option<Vec<String>>>>;

fn stage(names: &[&str]) -> (Stage, Shelf) {
    let stage = Stage::new();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let shelf = Arc::new(Mutex::new(Some(names)));
    let inner = stage.provider.as_seen_by(stage.clock.clone());
    let shop = Shop {
        inner,
        shelf: shelf.clone(),
    };
    (stage.around(Arc::new(Front(shop))), shelf)
}

async fn found(stage: &Stage, who: &str, text: &str, limit: usize) -> (Vec<String>, usize) {
    let found = stage.engine.search(&via(who), text, limit).await.unwrap();
    let ids = found.entries.iter().map(|entry| entry.id.to_string());
    (ids.collect(), found.more)
}

fn provider() -> jit_core::catalog::ProviderName {
    "stage".parse().unwrap()
}

#[tokio::test]
async fn b1_what_a_provider_has_is_found_beside_what_is_written_down() {
    let (stage, _) = stage(&["team-b", "team-a", "other", "team-a/../x y"]);
    let before = found(&stage, "ana", "", 9).await;
    assert_eq!(before.0, ["stage/admins", "stage/ops"]);
    assert_eq!(stage.engine.listings_age(), None);
    // What fits no family is nobody's to ask for, and what is no id cannot be.
    assert_eq!(stage.engine.discover(&provider()).await.unwrap(), 2);
    let all = ["stage/admins", "stage/ops", "stage/team-a", "stage/team-b"];
    assert_eq!(
        found(&stage, "ana", "", 9).await,
        (all.map(str::to_owned).to_vec(), 0)
    );
    // The title is searched too, whatever the letters' case.
    let teams = found(&stage, "ana", "TEAM's", 9).await;
    assert_eq!(teams.0, ["stage/team-a", "stage/team-b"]);
    assert_eq!(
        found(&stage, "ana", " stage/team-b ", 9).await.0,
        ["stage/team-b"]
    );
    // So is what the provider calls it.
    assert_eq!(found(&stage, "ana", "number 6", 9).await.0, teams.0);
    assert_eq!(found(&stage, "ana", "nothing", 9).await.0, [""; 0]);
    // Whoever has no right finds nothing.
    {
        let mut profiles = stage.people.profiles.lock().unwrap();
        profiles.get_mut(&id("cleo")).unwrap().groups.clear();
    }
    assert_eq!(found(&stage, "cleo", "", 9).await, (vec![], 0));
    let stranger = stage.engine.search(&via("nobody"), "", 9).await;
    assert!(stranger.is_err(), "{stranger:?}");
}

#[tokio::test]
async fn b1_a_listing_has_its_limit_and_says_how_many_more_there_are() {
    let names: Vec<String> = (0..1_200)
        .map(|number| format!("team-{number:04}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (stage, _) = stage(&names);
    stage.engine.discover(&provider()).await.unwrap();
    for (limit, more) in [
        (1_202, 0),
        (1_201, 1),
        (203, 999),
        (202, 1_000),
        (100, 1_000),
    ] {
        let (shown, said) = found(&stage, "ana", "", limit).await;
        assert_eq!((shown.len(), said), (limit, more));
    }
}

#[tokio::test]
async fn b1_a_listing_has_an_age_and_stays_where_the_provider_is_away() {
    let (stage, shelf) = stage(&["team-a"]);
    stage.engine.discover(&provider()).await.unwrap();
    let made = stage.engine.now();
    stage.clock.advance(secs(90));
    *shelf.lock().unwrap() = None;
    assert!(stage.engine.discover(&provider()).await.is_err());
    assert_eq!(found(&stage, "ana", "team", 9).await.0, ["stage/team-a"]);
    assert_eq!(stage.engine.listings_age(), Some(secs(90)));
    let search = stage.engine.search(&via("ana"), "team", 9).await.unwrap();
    assert_eq!(search.as_of, Some(made));
    // What is written down is not of any listing.
    let search = stage.engine.search(&via("ana"), "admins", 9).await.unwrap();
    assert_eq!(search.as_of, None);
    *shelf.lock().unwrap() = Some(vec![]);
    stage.engine.discover(&provider()).await.unwrap();
    assert_eq!(found(&stage, "ana", "team", 9).await.0, [""; 0]);
}

#[tokio::test]
async fn what_fits_a_family_is_granted_whether_it_was_listed_or_not() {
    let (stage, _) = stage(&[]);
    let ask = |name: &str| NewRequest {
        parts: vec![(format!("stage/{name}").parse().unwrap(), Default::default())],
        ..stage.ask("10m")
    };
    let request = stage.engine.open(&via("ana"), ask("team-a")).await.unwrap();
    stage.approve("bob", &request).await;
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Active);
    // The provider has no such thing, whatever fits.
    let refused = stage.engine.open(&via("ana"), ask("team-z")).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::NotGrantable { .. }))
        ),
        "{refused:?}"
    );
}

/// A provider that names its things itself, or says why something cannot be had.
struct Naming {
    inner: HostileHandle,
    name: Arc<Mutex<Result<Option<&'static str>, &'static str>>>,
}

#[async_trait]
impl Meddle for Naming {
    fn behind(&self) -> &dyn Provisioner {
        &self.inner
    }
    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        let name = *self.name.lock().unwrap();
        let failed = |told| {
            PortError::nothing_done("naming", "resolve", ErrorKind::Misconfigured).telling(told)
        };
        let name = name.map_err(failed)?.map(str::to_owned);
        let inner = &self.inner;
        let resolved = inner.resolve(beneficiary, entitlement, parameters).await?;
        Ok(Resolved { name, ..resolved })
    }
}

type Name = Arc<Mutex<Result<Option<&'static str>, &'static str>>>;

fn naming(name: Option<&'static str>) -> (Stage, Name) {
    let stage = Stage::new();
    let name = Arc::new(Mutex::new(Ok(name)));
    let inner = stage.provider.as_seen_by(stage.clock.clone());
    let naming = Naming {
        inner,
        name: name.clone(),
    };
    (stage.around(Arc::new(Front(naming))), name)
}

/// Two names for one thing would be two tiers and two sets of approvers for it.
#[tokio::test]
async fn s11_a_thing_is_granted_under_the_one_name_that_its_provider_gives_it() {
    let (stage, name) = naming(Some("admins"));
    let request = stage.open("ana", "10m").await;
    *name.lock().unwrap() = Ok(Some("ops"));
    let refused = stage.engine.open(&via("cleo"), stage.ask("10m")).await;
    let called = "stage/ops".parse().unwrap();
    let Err(EngineError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(&refusal, Refusal::OtherName { called: Some(it), .. } if *it == called),
        "{refusal:?}"
    );
    assert!(
        refusal.to_string().ends_with("ask for stage/ops"),
        "{refusal}"
    );
    // Renamed between the ask and the grant.
    stage.approve("bob", &request).await;
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Cancelled);
    // Its name is told to those alone who may ask for it.
    *name.lock().unwrap() = Ok(Some("../elsewhere"));
    let refused = stage.engine.open(&via("cleo"), stage.ask("10m")).await;
    assert!(
        matches!(
            &refused,
            Err(EngineError::Refused(Refusal::OtherName { .. }))
        ),
        "{refused:?}"
    );
    *name.lock().unwrap() = Ok(Some("no name at all"));
    let failed = stage.engine.open(&via("cleo"), stage.ask("10m")).await;
    assert!(matches!(failed, Err(EngineError::Failed(_))), "{failed:?}");
}

#[tokio::test]
async fn what_cannot_be_granted_is_refused_with_the_sentence_of_the_provider() {
    let (stage, name) = naming(None);
    let request = stage.open("ana", "10m").await;
    *name.lock().unwrap() = Err("nobody may have this from here");
    let refused = stage.engine.open(&via("cleo"), stage.ask("10m")).await;
    let Err(EngineError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    let said = refusal.to_string();
    assert!(said.ends_with("nobody may have this from here"), "{said}");
    stage.approve("bob", &request).await;
    stage.work().await;
    assert_eq!(stage.status(request.id).await, Status::Cancelled);
}
