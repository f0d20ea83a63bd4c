//! Group files of any bytes, through the provisioner and a real file.
//!
//! A member is added and taken away again, and no other byte moves; what cannot be read with
//! certainty is refused with a sentence that names the line, and stays as it is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use jit_core::Timestamp;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::ports::{ErrorKind, GrantCall, PortError, Provisioner, RevokeCall};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::provider::{Parameters, Target};
use jit_groupfile::GroupFile;
use jit_testkit::sample;
use jit_testkit::time::ManualClock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{After, assert_sentence, folder, in_world};

/// Who comes and goes.
pub const MEMBER: &str = "ana";
/// Where to.
pub const GROUP: &str = "admins";

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Adds somebody to a group of this file and takes them away again.
pub fn file(bytes: &[u8]) {
    in_world(&WORLD, World::new, |world| {
        world.check(bytes);
        After::Keep
    });
}

struct World {
    runtime: Runtime,
    provider: GroupFile,
    entitlement: Entitlement,
    beneficiary: Profile,
    path: PathBuf,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = folder();
        let path = folder.path().canonicalize().unwrap().join("groups");
        let clock = Arc::new(ManualClock::at(sample::start()));
        let name = "groupfile".parse().unwrap();
        // The disk is waited for on the wall clock.
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        Self {
            runtime,
            provider: GroupFile::new(name, &path, clock),
            entitlement: Entitlement {
                id: "groupfile/admins".parse().unwrap(),
                resource: GROUP.to_owned(),
                title: "Administrators".to_owned(),
                how_to_use: String::new(),
                tier: "standard".parse().unwrap(),
                parameters: ParameterRule::Refused,
                display: None,
                template: None,
                allows: String::new(),
                fallback: None,
            },
            beneficiary: Profile {
                id: MEMBER.parse().unwrap(),
                kind: PrincipalKind::Person,
                active: true,
                groups: Default::default(),
                groups_unknown: Default::default(),
                manager: None,
                subjects: BTreeMap::new(),
            },
            path,
            _folder: folder,
        }
    }

    fn check(&self, bytes: &[u8]) {
        std::fs::write(&self.path, bytes).unwrap();
        let known = Parameters::new();
        let resolved = self
            .provider
            .resolve(&self.beneficiary, &self.entitlement, &known);
        let target = match self.runtime.block_on(resolved) {
            Ok(resolved) => resolved.target,
            Err(refused) => {
                assert_refusal(&refused);
                // A revoke does not look at the file first: its record says where it is.
                let target = Target {
                    realm: "groupfile".to_owned(),
                    subject: MEMBER.parse().unwrap(),
                    resource: format!("{}#{GROUP}", self.path.display()),
                };
                for answer in [self.grant(&target), self.revoke(&target)] {
                    answer.err().iter().for_each(assert_refusal);
                    assert_eq!(self.now(), bytes, "refused and written");
                }
                return;
            }
        };
        let before = std::str::from_utf8(bytes).expect("only UTF-8 is read");
        let was_there = members(before).contains(&MEMBER);
        self.grant(&target).unwrap();
        let with = String::from_utf8(self.now()).unwrap();
        match was_there {
            true => assert_eq!(with, before),
            false => assert_added(before, &with),
        }
        assert!(members(&with).contains(&MEMBER), "{with:?}");
        self.grant(&target).unwrap();
        assert_eq!(self.now(), with.as_bytes(), "granted twice");
        self.revoke(&target).unwrap();
        let without = String::from_utf8(self.now()).unwrap();
        match was_there {
            true => assert_taken(before, &without),
            false => assert_eq!(without, before, "not as it was"),
        }
        self.revoke(&target).unwrap();
        assert_eq!(self.now(), without.as_bytes(), "revoked twice");
    }

    fn grant(&self, target: &Target) -> Result<(), PortError> {
        let none = Parameters::new();
        let granted = self.provider.grant(GrantCall {
            request: sample::id(1),
            target,
            parameters: &none,
            template: None,
            expires_at: Timestamp::MAX,
            send_before: Timestamp::MAX,
        });
        self.runtime.block_on(granted).map(drop)
    }

    fn revoke(&self, target: &Target) -> Result<(), PortError> {
        let none = Parameters::new();
        let revoked = self.provider.revoke(RevokeCall {
            request: sample::id(1),
            target,
            parameters: &none,
            handle: None,
            send_before: Timestamp::MAX,
        });
        self.runtime.block_on(revoked).map(drop)
    }

    fn now(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

/// The lines that name the group, each with its number. Told here once more, and in another way than
/// the adapter tells it.
fn lines_of_group(text: &str) -> Vec<usize> {
    let space = |c: char| " \t\n\u{b}\u{c}\r".contains(c);
    let names = |line: &str| {
        let line = line.trim_matches(space);
        !line.starts_with('#')
            && line.split(':').next().map(|it| it.trim_matches(space)) == Some(GROUP)
    };
    let lines = text.split('\n').enumerate();
    lines
        .filter(|(_, line)| names(line) && line.contains(':'))
        .map(|(at, _)| at)
        .collect()
}

fn words(line: &str) -> Vec<&str> {
    let behind = line.split_once(':').map_or("", |(_, behind)| behind);
    let behind = behind.trim_start_matches(':');
    let words = behind.split([' ', '\t', '\u{b}', '\u{c}', '\r', '\n']);
    words.filter(|word| !word.is_empty()).collect()
}

fn members(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.split('\n').collect();
    let named = lines_of_group(text).into_iter();
    named.flat_map(|at| words(lines[at])).collect()
}

/// One word more at one place, and every other byte as it was.
fn assert_added(before: &str, with: &str) {
    let added = format!(" {MEMBER}");
    assert_eq!(
        with.len(),
        before.len() + added.len(),
        "{before:?} {with:?}"
    );
    let same = before
        .bytes()
        .zip(with.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    // Where the same letters follow, the place may also be told further to the left.
    let found = (0..=same).rev().any(|at| {
        with.is_char_boundary(at)
            && with[at..].starts_with(&added)
            && with[at + added.len()..] == before[at..]
    });
    assert!(found, "{before:?} {with:?}");
}

/// The member is on no line of the group, every other word is where it was, and every other line too.
fn assert_taken(before: &str, without: &str) {
    let named = lines_of_group(before);
    let (old, new): (Vec<_>, Vec<_>) =
        (before.split('\n').collect(), without.split('\n').collect());
    assert_eq!(old.len(), new.len(), "{before:?} {without:?}");
    for (at, (old, new)) in old.into_iter().zip(new).enumerate() {
        if !named.contains(&at) {
            assert_eq!(old, new, "line {at}");
            continue;
        }
        let mut kept = words(old);
        kept.retain(|word| *word != MEMBER);
        assert_eq!(words(new), kept, "{old:?}");
        assert_eq!(old.split(':').next(), new.split(':').next());
    }
}

fn assert_refusal(error: &PortError) {
    assert!(
        matches!(error.kind, ErrorKind::Misconfigured | ErrorKind::NotFound),
        "{error}"
    );
    let why = error.source().expect("it says why").to_string();
    assert_sentence(&why);
    assert!(why.contains("line ") || why.contains("group"), "{why}");
}
