//! What is found wrong with a policy, where a directory says so.

use std::sync::Mutex;

use async_trait::async_trait;
use jit_core::ports::{ErrorKind, PortError};

use super::*;
use crate::config::{Config, Environment};
use crate::people::KnownPrincipal;

/// Three entitlements, each the membership of a group.
const POLICY: &str = r#"[store]
sqlite = "jit.db"
[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"
[[entitlement]]
id = "groupfile/a"
title = "A"
tier = "standard"
[[entitlement]]
id = "groupfile/b"
title = "B"
tier = "standard"
[[entitlement]]
id = "groupfile/c"
title = "C"
tier = "standard"
[[tier]]
name = "standard"
ttl_default = "1h"
ttl_max = "8h"
approvals = 1
[[rule]]
name = "ask"
rights = ["request", "revoke"]
entitlements = ["groupfile/*"]
principals = ["ana@example.com"]
[[rule]]
name = "look after"
rights = ["operate", "audit"]
entitlements = ["*"]
principals = ["ana@example.com"]
[[person]]
id = "ana@example.com"
groups = ["a", "b", "c", "owners"]
[[person]]
id = "bob@example.com"
groups = ["a", "b", "c", "owners"]
"#;

/// Each of these decides on that.
async fn lint_with(deciders: &[(&str, &str)]) -> Vec<Finding> {
    let config = config(&with(deciders));
    let leads_to = ["a", "b", "c"].map(|group| {
        let id = format!("groupfile/{group}").parse().unwrap();
        (id, group.parse().unwrap())
    });
    let people = &config.people;
    let everybody = Everybody::of(&config.policy, people, people, leads_to.into()).await;
    lint(&config.policy, &config.catalog, &everybody).findings
}

fn with(deciders: &[(&str, &str)]) -> String {
    let mut text = POLICY.to_owned();
    for (at, (group, on)) in deciders.iter().enumerate() {
        text.push_str(&format!(
            "[[rule]]\nname = \"{at}\"\nrights = [\"approve\"]\nentitlements = [\"{on}\"]\n\
             principals = [\"group:{group}\"]\n"
        ));
    }
    text
}

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jit.toml");
    std::fs::write(&file, text).unwrap();
    Config::read(&file, &Environment::default()).unwrap()
}

async fn loops_of(deciders: &[(&str, &str)]) -> Vec<String> {
    let found = lint_with(deciders).await.into_iter();
    let loops = found.filter(|finding| finding.gravity == Gravity::Loop);
    loops.map(|finding| finding.what).collect()
}

#[tokio::test]
async fn f5_whoever_is_let_in_and_lets_in_others_is_a_loop() {
    let sound = [("owners", "groupfile/*")];
    assert_eq!(lint_with(&sound).await, []);
    assert_eq!(
        loops_of(&[("owners", "groupfile/*"), ("a", "groupfile/a")]).await,
        ["whoever gets groupfile/a may decide who else gets it"]
    );
    // A decides on B, which decides on C: nobody comes round.
    let ladder = [
        ("owners", "groupfile/*"),
        ("a", "groupfile/b"),
        ("b", "groupfile/c"),
    ];
    assert_eq!(loops_of(&ladder).await, [""; 0]);
    let round = [&ladder[..], &[("c", "groupfile/a")]].concat();
    assert_eq!(
        loops_of(&round).await,
        [
            "whoever gets groupfile/a may decide on groupfile/b, and then on groupfile/c, and so on \
          who else gets groupfile/a"
        ]
    );
}

/// What is wrong with it, as this directory has it.
async fn report(config: &Config, directory: &dyn Directory) -> Report {
    let people = &config.people;
    let everybody = Everybody::of(&config.policy, people, directory, BTreeMap::new()).await;
    lint(&config.policy, &config.catalog, &everybody)
}

#[tokio::test]
async fn f5_a_step_that_comes_when_a_request_has_lapsed_lets_nobody_decide() {
    // The rule is about A, which does not wait so long, and about B, which does.
    let late = with(&[("owners", "groupfile/*")]).replace(
        "principals = [\"group:owners\"]",
        "principals = [\"group:owners\"]\nafter = \"2h\"",
    );
    let tier = "name = \"standard\"\n";
    let quick = "[[tier]]\nname = \"quick\"\nttl_default = \"1h\"\nttl_max = \"8h\"\n\
                 approvals = 1\ndecision_window = \"WINDOW\"\n";
    let a = "title = \"A\"\ntier = \"standard\"";
    assert!(late.contains("after") && late.contains(tier) && late.contains(a));
    let late = format!(
        "{}{quick}",
        late.replace(a, "title = \"A\"\ntier = \"quick\"")
    );
    for (window, lock_outs) in [
        ("1h", &["groupfile/a needs 1 to approve it, and 0 may"][..]),
        // A request lapses at that very instant.
        ("2h", &["groupfile/a needs 1 to approve it, and 0 may"][..]),
        ("121m", &[]),
    ] {
        let config = config(&late.replace("WINDOW", window));
        let report = report(&config, &config.people).await;
        let found = report.findings.iter();
        let found = found.filter(|it| it.gravity == Gravity::LockOut);
        let found: Vec<&str> = found.map(|it| it.what.as_str()).collect();
        assert_eq!(found, lock_outs, "{window}");
    }
}

/// A directory elsewhere that knows Ana, and of everybody else one thing.
struct Elsewhere {
    others: Result<Option<Profile>, ErrorKind>,
    /// How many are looked up now, and at most.
    at_once: Mutex<(usize, usize)>,
}

impl Elsewhere {
    fn new(others: Result<Option<Profile>, ErrorKind>) -> Self {
        let at_once = Mutex::default();
        Self { others, at_once }
    }
}

#[async_trait]
impl Directory for Elsewhere {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        {
            let mut at_once = self.at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        tokio::task::yield_now().await;
        self.at_once.lock().unwrap().0 -= 1;
        if id.as_str() == "ana@example.com" {
            return Ok(Some(nobody(id.clone())));
        }
        let others = self.others.clone();
        others.map_err(|kind| PortError::nothing_done("elsewhere", "look up", kind))
    }
}

#[tokio::test]
async fn f5_whoever_rules_name_and_the_directory_has_not_is_nobody() {
    let by_bob = with(&[("owners", "groupfile/*")]).replace("group:owners", "bob@example.com");
    let config = config(&by_bob);
    let bob = nobody("bob@example.com".parse().unwrap());
    let gone = Profile {
        active: false,
        ..bob.clone()
    };
    let robert = nobody("robert@example.com".parse().unwrap());
    for (others, doubt) in [
        (Ok(Some(bob)), None),
        (Err(ErrorKind::Unavailable), None),
        (Ok(None), Some("whom nobody knows")),
        (Ok(Some(gone)), Some("who is not active")),
        (Ok(Some(robert)), Some("who is known as robert@example.com")),
    ] {
        let (directory, written) = (Elsewhere::new(others), ConfiguredPeople::default());
        let policy = &config.policy;
        let everybody = Everybody::of(policy, &written, &directory, BTreeMap::new()).await;
        let report = lint(policy, &config.catalog, &everybody);
        assert_eq!(report.everybody_is_locked_out, doubt.is_some(), "{doubt:?}");
        let doubts = report.findings.iter();
        let doubts = doubts.filter(|it| it.gravity == Gravity::Doubt);
        let doubts: Vec<&str> = doubts.map(|it| it.what.as_str()).collect();
        let expected = doubt.map(|why| format!("rules name bob@example.com, {why}"));
        assert_eq!(doubts, Vec::from_iter(expected.as_deref()));
    }
}

#[tokio::test]
async fn f5_people_are_looked_up_together_and_not_too_many_at_once() {
    let written = (0..100).map(|at| KnownPrincipal {
        profile: nobody(format!("p{at}@example.com").parse().unwrap()),
        aliases: BTreeSet::new(),
    });
    let written: ConfiguredPeople = written.collect();
    let policy = Policy::default();
    let directory = Elsewhere::new(Err(ErrorKind::Unavailable));
    let everybody = Everybody::of(&policy, &written, &directory, BTreeMap::new()).await;
    assert_eq!(everybody.people.len(), 100, "as they are written");
    assert_eq!(*directory.at_once.lock().unwrap(), (0, 8));
}

#[tokio::test]
async fn f5_whoever_is_written_down_as_gone_is_nobody_while_the_directory_does_not_answer() {
    let by_bob = with(&[("owners", "groupfile/*")]).replace("group:owners", "bob@example.com");
    let config = config(&by_bob.replace("id = \"bob@", "active = false\nid = \"bob@"));
    let directory = Elsewhere::new(Err(ErrorKind::Unavailable));
    let report = report(&config, &directory).await;
    assert!(report.everybody_is_locked_out, "{report:?}");
}
