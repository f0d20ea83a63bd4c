//! On a table of DynamoDB, with Identity Center, Okta and Vault that lose calls and answers, are too
//! busy, and do things late.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sim::{AccessKey, Seat, What};
use jit_testkit::server::{Server, dynoxide_in};
use jit_testkit::time::SeededRandom;
use tempfile::TempDir;
use tokio::time::sleep;
use vault_sim::{AppRole, Capability, TokenRole};

use super::crew::{Crew, LONG, places_without};
use super::judge::{Access, Periods, is_awake, judge};
use super::load::{ANA, BOB, DORA, Load};
use super::{Site, kills, seed};
use crate::process::{jitd, ran, text};
use crate::secrets;

const CONFIG: &str = include_str!("hostile.toml");
const SHOP: &str = "222222222222";
/// What can be asked for, and whether it is collected.
const LANES: [(&str, bool); 6] = [
    ("aws/prod-shop/ReadOnlyAccess", false),
    ("aws/prod-shop/AdministratorAccess", false),
    ("okta/admins", false),
    ("okta/officers", false),
    ("vault/gitlab", true),
    ("vault/gitlab", true),
];
/// What is late is late by so much at most; microseconds.
const LATE_EFFECT: i64 = 5_000_000;

/// The providers, and the installation that uses them.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) aws: aws_sim::Sim,
    pub(crate) okta: okta_sim::Sim,
    vault: vault_sim::Sim,
    pub(crate) dynamodb: Server,
    pub(crate) site: Site,
    /// The provider's own name of each thing, and ours.
    names: Vec<(String, &'static str)>,
}

impl World {
    pub(crate) fn new() -> Self {
        let aws = aws_sim::Sim::start(aws_sim::Setup {
            seat: Seat::Delegated,
            apply_min: Duration::from_millis(500),
            apply_max: Duration::from_secs(2),
            calls_per_second: Some(20),
            ..aws_sim::Setup::default()
        })
        .unwrap();
        let organization = aws.world();
        organization.add_account(SHOP, "prod-shop");
        organization.add_user(ANA, ANA);
        let hour = Duration::from_secs(3_600);
        let read_only = organization.add_permission_set("ReadOnlyAccess", hour);
        let everything = organization.add_permission_set("AdministratorAccess", hour);

        let okta = okta_sim::Sim::start(okta_sim::Setup::default()).unwrap();
        let people = okta.world();
        for login in [ANA, BOB] {
            people.add_user(login, login);
        }
        let (admins, officers) = (people.add_group("admins"), people.add_group("officers"));

        let vault = vault_sim::Sim::start(vault_sim::Setup::default()).unwrap();
        let secrets = vault.world();
        let update: &[Capability] = &[Capability::Update];
        let paths = [
            "create/jit",
            "lookup-accessor",
            "revoke-accessor",
            "renew-self",
        ];
        let paths = paths.map(|it| format!("auth/token/{it}"));
        let paths: Vec<(&str, &[Capability])> =
            paths.iter().map(|it| (it.as_str(), update)).collect();
        secrets.put_policy("jit-access", &paths);
        secrets.put_policy("jit-gitlab", &[("kv/data/gitlab", &[Capability::Read])]);
        secrets.put_token_role(TokenRole {
            renewable: false,
            token_type: Some("service".to_owned()),
            ..TokenRole::new("jit", &["jit-gitlab"])
        });
        secrets.put_app_role(AppRole::new("jit-access", "the-role", &["jit-access"]));
        let secret_id = secrets.secret_id("jit-access", None);

        let folder = tempfile::tempdir().unwrap();
        // Beside the configuration, where secrets are looked for.
        let dynamodb = dynoxide_in(&folder.path().join("table.db"));
        let config = CONFIG
            .replace("DYNAMODB", &dynamodb.url())
            .replace("AWS\"", &format!("{}\"", aws.url()))
            .replace("INSTANCE", &organization.instance_arn())
            .replace("IDENTITIES", &organization.identity_store_id())
            .replace("OKTA\"", &format!("{}\"", okta.url()))
            .replace("VAULT\"", &format!("{}\"", vault.url()))
            .replace("ADMINS", &admins)
            .replace("OFFICERS", &officers);
        let file = folder.path().join("jit.toml");
        std::fs::write(&file, config).unwrap();
        let key = AccessKey::default();
        let site = Site {
            config: file,
            variables: vec![
                ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
                ("AWS_ACCESS_KEY_ID", key.id),
                ("AWS_SECRET_ACCESS_KEY", key.secret),
                ("JIT_OKTA_TOKEN", okta_sim::ApiToken::default().secret),
                ("VAULT_ROLE_ID", "the-role".to_owned()),
                ("VAULT_SECRET_ID", secret_id),
            ],
        };
        let made = ran(site.command(jitd(&["dynamodb", "create-table"])));
        assert!(made.status.success(), "{}", text(&made.stderr));
        let names = vec![
            (read_only, LANES[0].0),
            (everything, LANES[1].0),
            (admins, LANES[2].0),
            (officers, LANES[3].0),
        ];
        Self {
            folder,
            aws,
            okta,
            vault,
            dynamodb,
            site,
            names,
        }
    }

    /// What Vault handed out, to whomever.
    pub(crate) fn tokens(&self) -> Vec<vault_sim::Token> {
        self.vault.world().tokens()
    }

    /// Where the store is, and the file of the audit.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn name(&self, theirs: &str) -> &'static str {
        let known = self.names.iter().find(|(it, _)| it == theirs);
        known.unwrap().1
    }

    /// What the providers' own ledgers say of who had what.
    pub(crate) fn accesses(&self) -> Vec<Access> {
        let mut periods = Periods::default();
        for entry in self.aws.world().ledger() {
            let what = self.name(&entry.assignment.permission_set);
            match entry.what {
                What::Given => periods.comes(what, entry.at_micros),
                What::Taken => periods.goes(what, entry.at_micros),
            }
        }
        for entry in self.okta.world().ledger() {
            let what = self.name(&entry.group);
            match entry.what {
                okta_sim::What::Joined => periods.comes(what, entry.at_micros),
                okta_sim::What::Left => periods.goes(what, entry.at_micros),
            }
        }
        for entry in self.vault.world().ledger() {
            // Their own tokens are not access of anybody.
            let Some(at) = entry.display_name.find("req-") else {
                continue;
            };
            let what = &entry.display_name[at..];
            match entry.what {
                vault_sim::What::Born => periods.comes(what, entry.at_micros),
                vault_sim::What::Died(_) => periods.goes(what, entry.at_micros),
            }
        }
        periods.all()
    }

    /// Something goes wrong with one of the next calls that give or take.
    fn spoils(&self, dice: &SeededRandom) {
        let second = Duration::from_secs(1);
        let pick = |of: usize| usize::try_from(dice.below(of as u64)).unwrap();
        match pick(3) {
            0 => {
                use aws_sim::Hostility as It;
                let all = [
                    It::Throttle,
                    It::Conflict,
                    It::InternalErrorAfter,
                    It::LoseCall,
                    It::LoseReply,
                    It::LateEffect(second),
                    It::StatusAfter(second),
                ];
                let operations = ["CreateAccountAssignment", "DeleteAccountAssignment"];
                let hostility = all[pick(all.len())].clone();
                (self.aws.world()).hostile_times(operations[pick(2)], hostility, 1);
            }
            1 => {
                use okta_sim::{Hostility as It, Operation, Reset};
                let all = [
                    It::Throttle(Reset::In(second)),
                    It::InternalErrorAfter,
                    It::Unavailable,
                    It::LoseCall,
                    It::LoseReply,
                    It::LateEffect(second),
                ];
                let operations = [Operation::AddUserToGroup, Operation::RemoveUserFromGroup];
                let hostility = all[pick(all.len())].clone();
                (self.okta.world()).hostile_times(operations[pick(2)], hostility, 1);
            }
            _ => {
                use vault_sim::{Fault as It, Rule};
                let all = [
                    It::TooMany(Some(1)),
                    It::StatusAfter(500),
                    It::LoseCall,
                    It::LoseReply,
                ];
                let paths = ["auth/token/create", "auth/token/revoke-accessor"];
                let rule = Rule::at(paths[pick(2)], all[pick(all.len())].clone());
                self.vault.world().rule(rule.times(1));
            }
        }
    }

    fn calms_down(&self) {
        self.aws.world().calm();
        self.okta.world().calm();
        self.vault.world().calm();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_table_and_hostile_providers_nothing_is_lost_doubled_or_left() {
    let (kills, seed) = (kills(10), seed());
    let world = World::new();
    let site = &world.site;
    // Nobody is in a chat here, which the other setting has.
    let places = places_without(&[
        "commit.inbox_done",
        "store.inbox_put",
        "store.inbox_take",
        "store.inbox_done",
    ]);
    let mut crew = Crew::new(site, seed, places);
    let load = Load::new(site, Arc::clone(&crew.doors)).with_approver(DORA);
    let lanes = (1_u64..).zip(LANES);
    let lanes =
        lanes.map(|(lane, (what, is_collected))| load.lane(what, 4, is_collected, seed + lane));
    let killing = async {
        crew.lives_and_dies(kills).await;
        load.ends();
    };
    let spoiling = async {
        let dice = SeededRandom::new(seed);
        while !load.is_over() {
            // What was spoiled waits for its call, and there are fewer calls than that: without a rest
            // hardly anything that gives access would go well.
            match dice.below(3) {
                0 => world.calms_down(),
                _ => world.spoils(&dice),
            }
            sleep(Duration::from_millis(200 + dice.below(600))).await;
        }
        world.calms_down();
    };
    tokio::join!(futures_util::future::join_all(lanes), killing, spoiling);
    crew.calms_down().await;
    load.winds_up().await;
    let seen = load.sees().await;
    // What was handed out is in no table and no log, of the dead neither.
    for token in world.tokens() {
        secrets::called_with(&token.id);
    }
    crew.stops();
    assert!(secrets::are_looked_through(world.folder(), ANA));
    let accesses = world.accesses();
    let promises: Vec<_> = seen.iter().filter_map(|it| it.promise()).collect();
    let verdict = judge(&promises, &accesses, LATE_EFFECT);
    let mut problems = load.problems(&seen);
    problems.extend(verdict.problems);
    let (signals, met, places) = (crew.tally.by_signal, crew.tally.met.len(), crew.places);
    println!(
        "DynamoDB and hostile AWS, Okta and Vault: {} kills ({signals} by a signal, {met} of \
         {places} places met), {} requests, {} grants, the latest end {} ms late, {} problems",
        crew.tally.kills(),
        seen.len(),
        verdict.accesses,
        verdict.late / 1_000,
        problems.len(),
    );
    assert!(problems.is_empty(), "{problems:#?}");
    site.is_verified();
    is_awake(&promises, &accesses);
    assert!(kills < LONG || met == places, "{:#?}", crew.tally);
    drop(world.folder);
}
