//! Providers of every temper, asked through the port that all of them have.

use async_trait::async_trait;
use jit_core::ports::{Page, RevokeCall, Standing};
use jit_core::principal::Profile;
use jit_core::provider::{Answer, Description, Presence, Resolved, Target};
use jit_core::request::Part;
use jit_testkit::sample;

use super::*;
use crate::operate::doctor::Verdict;

/// How it answers whatever it is asked.
#[derive(Debug, Clone, Copy)]
enum Temper {
    Well,
    Empty,
    Hangs,
    Fails(ErrorKind),
    /// Only this resource is slow for ever.
    HangsAt(&'static str),
}

struct Fake {
    kind: Kind,
    temper: Temper,
}

impl Fake {
    async fn end<T>(&self, about: &str, value: T) -> Result<T, PortError> {
        match self.temper {
            Temper::Hangs => std::future::pending().await,
            Temper::HangsAt(name) if name == about => std::future::pending().await,
            Temper::Fails(kind) => Err(PortError::nothing_done("fake", "answer", kind)),
            Temper::Well | Temper::Empty | Temper::HangsAt(_) => Ok(value),
        }
    }
}

#[async_trait]
impl Provisioner for Fake {
    fn describe(&self) -> Description {
        Description {
            kind: self.kind,
            ..sample::standing()
        }
    }
    async fn resolve(
        &self,
        _: &Profile,
        entitlement: &Entitlement,
        _: &Parameters,
    ) -> Result<Resolved, PortError> {
        let target = Target::new("r", "ana".parse().unwrap(), &entitlement.resource);
        self.end(&entitlement.resource, target.into()).await
    }
    async fn revoke(&self, _: RevokeCall<'_>) -> Result<Answer, PortError> {
        panic!("nothing is changed")
    }
    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.end(&call.target.resource, Presence::Absent).await
    }
    async fn resource(&self, entitlement: &Entitlement) -> Result<Option<String>, PortError> {
        let named = Some(entitlement.resource.clone());
        let named = named.filter(|_| !matches!(self.temper, Temper::Empty));
        self.end(&entitlement.resource, named).await
    }
    async fn standing(&self, about: &str, _: Option<&str>) -> Result<Page<Standing>, PortError> {
        let (items, next) = (vec![], None);
        self.end(about, Page { items, next }).await
    }
}

fn entitlement(id: &str, parameters: ParameterRule) -> Entitlement {
    let Part {
        entitlement,
        target,
        ..
    } = sample::part(id);
    Entitlement {
        id: entitlement,
        resource: target.resource,
        title: String::new(),
        how_to_use: String::new(),
        tier: "standard".parse().unwrap(),
        parameters,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    }
}

async fn looked(kind: Kind, temper: Temper, parameters: ParameterRule) -> Vec<Finding> {
    let fake = Fake { kind, temper };
    let look = Look {
        area: "fake",
        adapter: &fake,
        handle: None,
        now: sample::start(),
        until: Instant::now() + DEADLINE - SOONER,
    };
    let all = ["fake/a", "fake/b", "fake/c", "fake/d", "fake/e"];
    let all = all.map(|id| entitlement(id, parameters.clone()));
    look.at(all.into()).await
}

fn is(found: &[Finding], verdict: Verdict, words: &str, fix: &str) {
    let [one] = found else {
        panic!("{found:#?}");
    };
    assert_eq!(one.verdict, verdict, "{one:?}");
    assert!(one.found.contains(words), "{one:?}");
    assert!(
        one.fix.as_deref().unwrap_or_default().contains(fix),
        "{one:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_answers_is_counted_and_what_hangs_fails_in_time() {
    for kind in [Kind::Standing, Kind::Minted] {
        let found = looked(kind, Temper::Well, ParameterRule::Refused).await;
        is(&found, Verdict::Ok, "5 entitlements looked at", "");
        let began = Instant::now();
        let found = looked(kind, Temper::Hangs, ParameterRule::Refused).await;
        is(
            &found,
            Verdict::Fail,
            "did not answer within 10 s",
            "network",
        );
        assert!(began.elapsed() < DEADLINE);
        let found = looked(kind, Temper::HangsAt("c"), ParameterRule::Refused).await;
        is(&found[..1], Verdict::Ok, "4 entitlements looked at", "");
        is(
            &found[1..],
            Verdict::Warn,
            "1 entitlement not looked at",
            "slow",
        );
    }
}

#[tokio::test]
async fn the_same_trouble_is_told_once_with_its_fix() {
    for (error, fix) in [
        (ErrorKind::Forbidden, "docs/SECURITY.md"),
        (ErrorKind::Misconfigured, "mend what that says"),
        (ErrorKind::Unavailable, "this host reaches it"),
        (
            ErrorKind::RateLimited {
                retry_after_ms: None,
            },
            "quota",
        ),
        (ErrorKind::NotFound, "make it there"),
        (ErrorKind::Conflict, "run this again"),
    ] {
        let found = looked(Kind::Standing, Temper::Fails(error), ParameterRule::Refused).await;
        let words = "fake/a, fake/b, fake/c and 2 more: fake could not answer";
        is(&found, Verdict::Fail, words, fix);
    }
    let found = looked(Kind::Standing, Temper::Empty, ParameterRule::Refused).await;
    assert_eq!(found.len(), 5, "each is another thing that is not there");
    is(
        &found[..1],
        Verdict::Fail,
        "fake/a: there is no \"a\" there",
        "make it there",
    );
}

#[tokio::test]
async fn what_takes_parameters_is_not_blamed_for_having_none() {
    let temper = Temper::Fails(ErrorKind::Misconfigured);
    let found = looked(Kind::Minted, temper, ParameterRule::Free).await;
    is(&found, Verdict::Ok, "5 entitlements not looked at", "");
}
