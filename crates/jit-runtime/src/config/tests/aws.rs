//! What the file says of AWS.

use jit_identity_center::{AccountNames, Limits, OfferScope, UserLookup};

use super::*;

const PRESET: &str = include_str!("../../../../../docs/examples/aws.toml");

/// [`GOOD`] with a provider in AWS.
const INSTANCE: &str = "[[provider]]
name = \"aws\"
kind = \"identity_center\"
region = \"eu-central-1\"
instance = \"arn:aws:sso:::instance/ssoins-1234567890abcdef\"
identity_store = \"d-1234567890\"
";

#[track_caller]
fn refused_at_instance(old: &str, new: &str, expected: &[&str]) {
    assert_eq!(INSTANCE.matches(old).count(), 1, "{old:?}");
    refused(&format!("{GOOD}{}", INSTANCE.replace(old, new)), expected);
}

#[test]
fn the_preset_is_a_configuration_that_works() {
    let config = Folder::with(PRESET).read(&SLACK_TOKENS).unwrap();
    let Store::DynamoDb(table) = &config.store else {
        panic!("a table keeps the requests");
    };
    assert_eq!(table.table, "jit");
    assert_eq!(table.region.as_deref(), Some("eu-central-1"));
    assert_eq!(table.endpoint, None);
    let ProviderKind::IdentityCenter { settings, limits } = &config.providers[0].kind else {
        panic!("Identity Center gives access");
    };
    assert_eq!(settings.users, UserLookup::Email);
    assert_eq!(settings.offers, OfferScope::Every);
    assert_eq!(*limits, Limits::default());
    // D3: four hours unless somebody says otherwise, and B1: a pattern leads to tier and channel.
    let slack = config.slack.unwrap();
    for (id, tier, channel) in [
        (
            "aws/prod-shop/AdministratorAccess",
            "production",
            "C012AB3CD",
        ),
        ("aws/prod-shop/ReadOnlyAccess", "read", "C012AB3CD"),
        ("aws/dev-shop/AdministratorAccess", "standard", "C012AB3CE"),
    ] {
        let id: EntitlementId = id.parse().unwrap();
        let entry = config.catalog.get(&id).unwrap();
        assert_eq!(entry.tier.to_string(), tier);
        let terms = config.policy.tier(&entry.tier).unwrap();
        assert_eq!(terms.ttl_default.to_string(), "4h");
        let mut routes = slack.settings.routes.iter();
        let route = routes
            .find(|route| route.entitlements.matches(&id))
            .unwrap();
        assert_eq!(route.channel.as_str(), channel);
    }
}

/// The owners of production decide on it, and nobody else.
#[test]
fn whoever_decides_on_development_decides_on_nothing_of_production() {
    let config = Folder::with(PRESET).read(&SLACK_TOKENS).unwrap();
    let may = |who: &str, id: &str| {
        let who = who.parse().unwrap();
        let known = config.people.find(&who).unwrap();
        let id = id.parse().unwrap();
        let case = Case::new(&id, When::Ever);
        config.policy.allows(Right::Approve, &known.profile, &case)
    };
    for (id, bob, carol) in [
        ("aws/prod-shop/AdministratorAccess", true, false),
        ("aws/prod-shop/ReadOnlyAccess", true, false),
        ("aws/dev-shop/AdministratorAccess", false, true),
        ("aws/shop/AdministratorAccess", false, false),
    ] {
        assert_eq!(may("bob@example.com", id), bob, "{id}");
        assert_eq!(may("carol@example.com", id), carol, "{id}");
    }
    // What fits no family cannot be asked for at all.
    assert!(
        config
            .catalog
            .get(&"aws/222222222222/Admin".parse().unwrap())
            .is_none()
    );
}

#[test]
fn what_the_preset_has_commented_out_works_too() {
    let text = PRESET
        .replace("# offers", "offers")
        .replace("# accounts", "accounts")
        .replace("# calls_per", "calls_per")
        .replace("# outstanding", "outstanding");
    let config = Folder::with(&text).read(&SLACK_TOKENS).unwrap();
    let ProviderKind::IdentityCenter { settings, limits } = &config.providers[0].kind else {
        panic!("Identity Center gives access");
    };
    assert_eq!(settings.offers, OfferScope::Provisioned);
    assert_eq!(settings.accounts, AccountNames::Ids);
    assert_eq!(*limits, Limits::default());
}

#[test]
fn a_store_is_a_file_or_a_table() {
    let store = |text: &str| GOOD.replace("sqlite = \"jit.db\"", text);
    let config = read(&store(
        "dynamodb = \"jit\"\nendpoint = \"http://127.0.0.1:8000/\"",
    ))
    .unwrap();
    let Store::DynamoDb(table) = &config.store else {
        panic!("a table keeps the requests");
    };
    assert_eq!(table.endpoint.as_deref(), Some("http://127.0.0.1:8000"));
    for (text, expected) in [
        ("dynamodb = \"ji\"", "3 to 255"),
        ("dynamodb = \"jit access\"", "3 to 255"),
        ("dynamodb = \"jit\"\nregion = \"Frankfurt\"", "eu-central-1"),
        (
            "dynamodb = \"jit\"\nendpoint = \"http://10.0.0.1\"",
            "loopback",
        ),
        (
            "dynamodb = \"jit\"\nendpoint = \"http://localhost.example.com\"",
            "loopback",
        ),
        (
            "dynamodb = \"jit\"\nsqlite = \"jit.db\"",
            "keep one of the two",
        ),
        ("sqlite = \"jit.db\"\nregion = \"eu-central-1\"", "no table"),
        ("endpoint = \"https://dynamodb.example.com\"", "no table"),
    ] {
        refused(&store(text), &[expected]);
    }
    let longest = "t".repeat(255);
    assert!(read(&store(&format!("dynamodb = \"{longest}\""))).is_ok());
    refused(&store(&format!("dynamodb = \"{longest}t\"")), &["3 to 255"]);
}

#[test]
fn an_instance_is_named_as_aws_shows_it() {
    let config = read(&format!("{GOOD}{INSTANCE}")).unwrap();
    assert_eq!(config.providers.len(), 2);
    for (old, new, expected) in [
        ("eu-central-1", "Frankfurt", "eu-central-1"),
        (
            "arn:aws:sso:::instance/ssoins-1234567890abcdef",
            "ssoins-1",
            "list-instances",
        ),
        ("d-1234567890", "the store", "list-instances"),
        ("region = \"eu-central-1\"\n", "", "lacks region"),
        (
            "identity_store = \"d-1234567890\"\n",
            "",
            "lacks identity_store",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\nusers = \"phone\"\n",
            "users",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\noffers = \"all\"\n",
            "offers",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\nfile = \"groups\"\n",
            "unknown key \"file\"",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\ncalls_per_second = 0\n",
            "1 to 1000",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\ncalls_per_second = 1001\n",
            "1 to 1000",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\noutstanding = 0\n",
            "1 to 100",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\noutstanding = 101\n",
            "1 to 100",
        ),
        (
            "name = \"aws\"\n",
            "name = \"aws\"\nsecret_access_key = \"x\"\n",
            "looks like a secret",
        ),
    ] {
        refused_at_instance(old, new, &[expected]);
    }
    let many =
        "name = \"aws\"\ncalls_per_second = 1000\noutstanding = 100\nusers = \"user_name\"\n";
    assert!(
        read(&format!(
            "{GOOD}{}",
            INSTANCE.replace("name = \"aws\"\n", many)
        ))
        .is_ok()
    );
    let twice = INSTANCE.replace("name = \"aws\"", "name = \"again\"");
    refused(
        &format!("{GOOD}{INSTANCE}{twice}"),
        &["granted under two names"],
    );
}

#[test]
fn a_family_names_its_provider_and_a_tier() {
    let family = |pattern: &str, tier: &str| {
        format!(
            "{GOOD}[[family]]\nentitlements = \"{pattern}\"\ntitle = \"Groups\"\ntier = \"{tier}\"\n"
        )
    };
    let config = read(&family("groupfile/team-*", "standard")).unwrap();
    let id = "groupfile/team-a".parse().unwrap();
    assert_eq!(config.catalog.get(&id).unwrap().title, "Groups (team-a)");
    refused(&family("*", "standard"), &["any provider"]);
    refused(&family("group*/a", "standard"), &["any provider"]);
    refused(
        &family("elsewhere/*", "standard"),
        &["no provider elsewhere"],
    );
    refused(&family("groupfile/*", "steep"), &["no tier steep"]);
    refused(
        &family("group file/*", "standard"),
        &["entitlement pattern"],
    );
    // What an earlier family has already would never be reached.
    let hidden = family("groupfile/*", "standard")
        + "[[family]]\nentitlements = \"groupfile/team-*\"\ntitle = \"Teams\"\ntier = \"standard\"\n";
    refused(&hidden, &["groupfile/team-*", "fits groupfile/*", "before"]);
    // Whoever changes what may be asked for changes the configuration.
    let other = read(&family("groupfile/team-*", "standard").replace("Groups", "Teams")).unwrap();
    assert_ne!(config.digest, other.digest);
}
