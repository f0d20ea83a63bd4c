//! What the file says of Okta.

use jit_okta::{Auth, DirectorySettings, Limits};

use super::*;

const PRESET: &str = include_str!("../../../../../docs/examples/okta.toml");

const TOKEN: (&str, &str) = ("JIT_OKTA_TOKEN", "00token");
const KEY: (&str, &str) = ("JIT_OKTA_PRIVATE_KEY", "-----BEGIN PRIVATE KEY-----\n");

/// [`GOOD`] with an organization and its people.
const ORGANIZATION: &str = "[[provider]]
name = \"okta\"
kind = \"okta\"
org_url = \"https://example.okta.com\"
[directory]
okta = \"okta\"
groups = { sre = \"00g1sre00000000000001\" }
";

const SERVICE_APP: &str = "org_url = \"https://example.okta.com\"
client_id = \"0oa1\"
key_id = \"2026-11\"";

fn with_app() -> String {
    let bare = "org_url = \"https://example.okta.com\"";
    format!("{GOOD}{}", ORGANIZATION.replace(bare, SERVICE_APP))
}

fn auth(text: &str, variables: &[(&str, &str)]) -> Result<Auth, BadConfig> {
    let config = Folder::with(text).read(variables)?;
    let provider = config.providers.into_iter().find_map(|it| match it.kind {
        ProviderKind::Okta(okta) => Some(okta.0),
        _ => None,
    });
    Ok(provider.expect("there is an organization").auth)
}

/// The one problem of [`ORGANIZATION`] with one text in place of another.
#[track_caller]
fn refused_at_okta(old: &str, new: &str, expected: &[&str]) {
    assert_eq!(ORGANIZATION.matches(old).count(), 1, "{old:?}");
    let text = format!("{GOOD}{}", ORGANIZATION.replace(old, new));
    let told = told(Folder::with(&text).read(&[TOKEN]));
    assert_eq!(told.len(), 1, "{told:#?}");
    for part in expected {
        assert!(told[0].contains(part), "{part:?} is not in {:?}", told[0]);
    }
}

/// The one problem of a file with these variables.
#[track_caller]
fn refused_to_open(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let told = told(Folder::with(text).read(variables));
    assert_eq!(told.len(), 1, "{told:#?}");
    for part in expected {
        assert!(told[0].contains(part), "{part:?} is not in {:?}", told[0]);
    }
}

/// What Slack's door needs.
const SLACK: [(&str, &str); 2] = [
    ("JIT_SLACK_BOT_TOKEN", "xoxb-1"),
    (
        "JIT_SLACK_SIGNING_SECRET",
        "8f742231b10e8888abcd99yyyzzz85a5",
    ),
];

#[test]
fn a_signing_secret_may_have_two_values_while_it_is_being_changed() {
    let secrets = |more: &[(&str, &str)]| {
        let config = Folder::with(PRESET).read(&[&SLACK[..], &[TOKEN], more].concat());
        match config.unwrap().slack.unwrap().transport {
            jit_slack::Transport::Http { signing_secrets } => signing_secrets,
            jit_slack::Transport::Socket { .. } => panic!("Slack calls us"),
        }
    };
    assert_eq!(secrets(&[]).len(), 1);
    let both = secrets(&[("JIT_SLACK_SIGNING_SECRET_OLD", "the-one-before-it")]);
    let both: Vec<&str> = both.iter().map(|it| it.expose_secret()).collect();
    assert_eq!(both, [SLACK[1].1, "the-one-before-it"]);
}

#[test]
fn the_preset_is_a_configuration_that_works() {
    let config = Folder::with(PRESET).read(&[&SLACK[..], &[TOKEN]].concat());
    let config = config.unwrap();
    let ProviderKind::Okta(okta) = &config.providers[0].kind else {
        panic!("Okta gives access");
    };
    assert_eq!(okta.0.org_url, "https://example.okta.com");
    assert_eq!(okta.0.residual, Duration::from_hours(1));
    assert_eq!(okta.0.limits, Limits::default());
    let people = config.directory.unwrap().settings;
    assert_eq!(people.manager_attribute.as_deref(), Some("managerId"));
    assert_eq!(people.slack_attribute.as_deref(), Some("slackId"));
    assert_eq!(people.person_attribute, None);
    assert_eq!(people.groups.len(), 3);
    // A: half an hour, one officer, and a check mark will do.
    let admins: EntitlementId = "okta/super-admins".parse().unwrap();
    let tier = &config.catalog.get(&admins).unwrap().tier;
    let terms = config.policy.tier(tier).unwrap();
    assert_eq!(terms.ttl_default.to_string(), "30m");
    assert_eq!(terms.approvals, 1);
    let steps = config.policy.ladder(&admins).into_iter().map(|step| {
        let who: Vec<String> = step.to.iter().map(ToString::to_string).collect();
        format!("{} {}", step.after, who.join(" "))
    });
    assert_eq!(
        steps.collect::<Vec<_>>(),
        ["10m oncall:security", "20m manager"]
    );
}

#[test]
fn an_organization_is_opened_by_a_token_or_by_a_service_app() {
    let token = auth(&format!("{GOOD}{ORGANIZATION}"), &[TOKEN]).unwrap();
    assert!(matches!(token, Auth::Ssws(token) if token.expose_secret() == "00token"));
    let Auth::PrivateKeyJwt {
        client_id,
        key_id,
        private_key,
        scopes,
    } = auth(&with_app(), &[KEY]).unwrap()
    else {
        panic!("a service app is written down");
    };
    assert_eq!((client_id.as_str(), key_id.as_str()), ("0oa1", "2026-11"));
    assert!(private_key.expose_secret().starts_with("-----BEGIN"));
    assert_eq!(scopes, ["okta.groups.manage", "okta.users.read"]);
}

#[test]
fn what_does_not_open_an_organization_is_told() {
    let bare = format!("{GOOD}{ORGANIZATION}");
    let app = with_app();
    let unset = ["nothing opens the door", "JIT_OKTA_TOKEN_FILE"];
    refused_to_open(&bare, &[], &unset);
    let keyless = ["no private key", "JIT_OKTA_PRIVATE_KEY_FILE"];
    refused_to_open(&app, &[], &keyless);
    let appless = ["JIT_OKTA_PRIVATE_KEY: ", "a private key and no service app"];
    refused_to_open(&bare, &[KEY], &appless);
    refused_to_open(&bare, &[KEY, TOKEN], &appless);
    let both = ["JIT_OKTA_TOKEN: ", "a token as well as a service app"];
    refused_to_open(&app, &[KEY, TOKEN], &both);
    for half in ["client_id = \"0oa1\"\n", "key_id = \"2026-11\""] {
        let text = app.replace(half, "");
        refused_to_open(&text, &[KEY], &["a client_id and a key_id"]);
    }
}

#[test]
fn what_cannot_be_an_organization_is_refused() {
    for other in [
        "http://example.okta.com",
        "https://example.okta.com/admin",
        "https://ana@example.okta.com",
        "https://127.0.0.1:80@example.com",
        "http://127.0.0.1:80@example.com",
        "http://127.0.0.1:80/api",
        "http://localhost.example.com",
        "https://",
        "https://:443",
    ] {
        refused_at_okta(
            "https://example.okta.com",
            other,
            &["https:// and its host"],
        );
    }
    for good in [
        "http://127.0.0.1:8080",
        "http://[::1]:80",
        "https://id.example.com/",
    ] {
        let text = format!(
            "{GOOD}{}",
            ORGANIZATION.replace("https://example.okta.com", good)
        );
        Folder::with(&text).read(&[TOKEN]).unwrap();
    }
    refused_at_okta(
        "kind = \"okta\"\norg_url = \"https://example.okta.com\"",
        "kind = \"okta\"",
        &["org_url"],
    );
}

#[test]
fn there_is_one_organization() {
    let second = ORGANIZATION[..ORGANIZATION.find("[directory]").unwrap()].to_owned();
    let second = second.replace("\"okta\"\nkind", "\"okta2\"\nkind");
    refused_to_open(
        &format!("{GOOD}{ORGANIZATION}{second}"),
        &[TOKEN],
        &["there is an Okta organization already"],
    );
}

#[test]
fn how_hard_it_is_asked_has_limits() {
    let with = |line: &str| {
        let org = "org_url = \"https://example.okta.com\"";
        let text = ORGANIZATION.replace(org, &format!("{org}\n{line}"));
        Folder::with(&format!("{GOOD}{text}")).read(&[TOKEN])
    };
    for good in [
        "calls_per_second = 1",
        "calls_per_second = 1000",
        "at_once = 4",
        "at_once = 75",
        "residual = \"0s\"",
    ] {
        with(good).unwrap();
    }
    for bad in [
        "calls_per_second = 0",
        "calls_per_second = 1001",
        "at_once = 3",
        "at_once = 76",
        "residual = \"soon\"",
    ] {
        assert_eq!(told(with(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn a_directory_is_an_organization_and_its_groups() {
    refused_at_okta(
        "okta = \"okta\"\n",
        "okta = \"groupfile\"\n",
        &[
            "groupfile is no provider of the kind okta",
            "okta = \"okta\"",
        ],
    );
    refused_at_okta("okta = \"okta\"\n", "", &["okta = \"okta\""]);
    for no_group in ["00u1sre00000000000001", "sre", "00g1sre/../users"] {
        refused_at_okta("00g1sre00000000000001", no_group, &["a group is 00g"]);
    }
    for others in ["\"oncall:sre\"", "\"slack:s0123\""] {
        refused_at_okta(
            "{ sre",
            &format!("{{ {others}"),
            &["names that others fill"],
        );
    }
    for attribute in ["manager", "slack", "person"] {
        let line = format!("{attribute} = \"no such, attribute\"\ngroups");
        refused_at_okta("groups", &line, &["an attribute is written"]);
    }
}

#[test]
fn the_digest_changes_with_who_people_are_and_who_decides_for_them() {
    let digest = |more: &str| {
        let text = ORGANIZATION.replace("[directory]\n", &format!("[directory]\n{more}"));
        let config = Folder::with(&format!("{GOOD}{text}")).read(&[TOKEN]);
        config.unwrap().digest
    };
    let usual = digest("");
    assert_eq!(usual, digest("manager = \"managerId\"\n"));
    for attribute in ["manager", "slack", "person"] {
        assert_ne!(usual, digest(&format!("{attribute} = \"other\"\n")));
    }
}

#[test]
fn people_who_are_written_down_are_joined_to_their_user() {
    let text = format!("{GOOD}{ORGANIZATION}");
    let text = text.replace(
        "subjects = { groupfile = \"ana\" }",
        "subjects = { groupfile = \"ana\", okta = \"00u1ana\" }",
    );
    let config = Folder::with(&text).read(&[TOKEN]).unwrap();
    let people: DirectorySettings = config.directory.unwrap().settings;
    let ana = people.configured.iter().next().unwrap();
    assert_eq!(
        (ana.0.as_str(), ana.1.as_str()),
        ("00u1ana", "ana@example.com")
    );
}

#[test]
fn an_entitlement_may_be_a_group_that_rules_name() {
    let entitlement = "[[entitlement]]
id = \"okta/sre\"
resource = \"00g1sre00000000000001\"
title = \"SRE\"
tier = \"standard\"
";
    let text = format!("{GOOD}{ORGANIZATION}{entitlement}");
    let config = Folder::with(&text).read(&[TOKEN]).unwrap();
    let leads_to: Vec<String> = config
        .leads_to()
        .iter()
        .map(|(id, group)| format!("{id} {group}"))
        .collect();
    assert_eq!(leads_to, ["okta/sre sre"]);
}
