//! What `[mcp]`, `[[agent]]` and an `[[entitlement]]` with parameters promise.

use jit_mcp::Decisions;

use super::*;

/// The small configuration with an account beside the group file.
fn with_account(entitlement: &str) -> String {
    format!(
        "{GOOD}[[provider]]\nname = \"iam\"\nkind = \"iam_policy\"\naccount = \"111122223333\"\n\
         role = \"Developers\"\n{entitlement}"
    )
}

const SCHEMA: &str = r#"{"type": "object", "properties": {"region": {"enum": ["eu-west-1"]}},
    "required": ["region"], "additionalProperties": false}"#;
const TEMPLATE: &str = r#"{"Statement": {"Effect": "Allow", "Action": "ec2:*", "Resource": "*",
    "Condition": {"StringEquals": {"aws:RequestedRegion": "{region}"}}}}"#;

fn tool(parameters: &str, template: &str, more: &str) -> String {
    with_account(&format!(
        "[[entitlement]]\nid = \"iam/create_ec2\"\ntitle = \"Create instances\"\n\
         tier = \"standard\"\nparameters = '''{parameters}'''\ntemplate = '''{template}'''\n{more}\n"
    ))
}

#[test]
fn a_tool_has_a_schema_a_name_a_policy_and_what_it_can_do() {
    let more = "display = \"EC2 in {region}\"\nallows = \"Start and stop instances\"";
    let config = read(&tool(SCHEMA, TEMPLATE, more)).unwrap();
    let entry = config.catalog.get(&"iam/create_ec2".parse().unwrap());
    let entry = entry.unwrap().into_owned();
    let schema = entry.parameters.schema().unwrap();
    let parameters = |text: &str| serde_json::from_str(text).unwrap();
    assert!(
        schema
            .check(&parameters(r#"{"region": "eu-west-1"}"#))
            .is_ok()
    );
    assert!(schema.check(&parameters(r#"{"region": "*"}"#)).is_err());
    assert_eq!(entry.template.as_deref(), Some(TEMPLATE));
    assert_eq!(entry.allows, "Start and stop instances");
    let display = entry.display.unwrap();
    assert_eq!(
        display.line(&parameters(r#"{"region": "eu-west-1"}"#)),
        "EC2 in eu-west-1"
    );
    let ProviderKind::Iam {
        settings, access, ..
    } = &config.providers[1].kind
    else {
        panic!("{:?}", config.providers[1]);
    };
    assert_eq!(*access, IamAccess::Policy);
    assert_eq!(settings.role.as_deref(), Some("Developers"));
    // Whatever somebody approves is in the digest of the terms.
    let other = read(&tool(SCHEMA, &TEMPLATE.replace("ec2:*", "s3:*"), more)).unwrap();
    assert_ne!(config.digest, other.digest);
}

#[test]
fn a_schema_and_a_template_that_do_not_belong_together_are_refused() {
    let none = r#"{"type": "object", "properties": {}, "additionalProperties": false}"#;
    let two = SCHEMA.replace(
        "\"properties\": {",
        "\"properties\": {\"team\": {\"type\": \"string\"}, ",
    );
    let optional = SCHEMA.replace("\"required\": [\"region\"],", "");
    let open = SCHEMA.replace(", \"additionalProperties\": false", "");
    let free = SCHEMA.replace("{\"enum\": [\"eu-west-1\"]}", "{\"type\": \"string\"}");
    let whole =
        r#"{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "{region}"}}"#;
    let deny = TEMPLATE.replace("Allow", "Deny");
    for (parameters, template, more, expected) in [
        (
            none,
            TEMPLATE,
            "",
            "the template names region, which no schema declares",
        ),
        (
            &two,
            TEMPLATE,
            "",
            "the schema declares team, of which the template makes nothing",
        ),
        (
            &optional,
            TEMPLATE,
            "",
            "region may be left out, and the template needs it",
        ),
        (&open, TEMPLATE, "", "parameters that nobody declared"),
        (&free, whole, "", "region is all of an Action or a Resource"),
        (SCHEMA, &deny, "", "Allow"),
        (SCHEMA, "{", "", "not the JSON of a policy"),
        (
            SCHEMA,
            TEMPLATE,
            "display = \"{place}\"",
            "{place}, which is no parameter",
        ),
        (SCHEMA, TEMPLATE, "display = \"{\"", "braces"),
    ] {
        refused(&tool(parameters, template, more), &[expected]);
    }
    refused(
        &with_account("[[entitlement]]\nid = \"iam/x\"\ntitle = \"X\"\ntier = \"standard\"\n"),
        &["there is no policy that it would give", "template = "],
    );
    // A group has no place for any of it.
    for more in ["parameters = '{}'", "template = '{}'"] {
        let (text, _) = with(
            "title = \"Administrators\"",
            &format!("title = \"Administrators\"\n{more}"),
        );
        let told = told(read(&text));
        assert!(
            told.iter().any(|it| it.contains("takes no parameters")),
            "{told:?}"
        );
    }
}

#[test]
fn a_role_that_is_shared_is_nobodys_own() {
    let own = |subject: &str| {
        let text = tool(SCHEMA, TEMPLATE, "");
        text.replace(
            "subjects = { groupfile = \"ana\" }",
            &format!("subjects = {{ groupfile = \"ana\", iam = \"{subject}\" }}"),
        )
    };
    refused(
        &own("role/Developers"),
        &["role/developers is shared", "role/developers:SESSION"],
    );
    for subject in [
        "role/Developers:ana@example.com",
        "role/ana-own",
        "user/ana",
    ] {
        assert!(read(&own(subject)).is_ok(), "{subject}");
    }
    let carl =
        "[[person]]\nid = \"carl@example.com\"\nsubjects = { iam = \"role/ana-own:carl\" }\n";
    refused(
        &format!("{}{carl}", own("role/ana-own")),
        &["role/ana-own is shared"],
    );
    // Two people are never one, whatever the case, and nobody is the session that another one has.
    for (subject, carls) in [
        ("user/ana", "user/Ana"),
        ("role/ana-own", "role/ANA-own"),
        ("role/shared:x", "role/Shared:x"),
    ] {
        let carl =
            format!("[[person]]\nid = \"carl@example.com\"\nsubjects = {{ iam = \"{carls}\" }}\n");
        let told = format!("are both {}", subject.to_lowercase());
        refused(&format!("{}{carl}", own(subject)), &[&told]);
    }
    let carl = "[[person]]\nid = \"carl@example.com\"\n\
                subjects = { iam = \"role/Developers:ana@example.com\" }\n";
    refused(
        &format!("{}{carl}", tool(SCHEMA, TEMPLATE, "")),
        &["are both role/developers:ana@example.com"],
    );
}

#[test]
fn an_account_is_given_access_in_by_one_provider_of_a_kind() {
    let account = |name: &str, kind: &str, more: &str| {
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\naccount = \"111122223333\"\n{more}\n"
        )
    };
    let other = account("sts", "iam_session", "longest_session = \"1h\"");
    let config = read(&with_account(&other)).unwrap();
    let ProviderKind::Iam {
        settings, access, ..
    } = &config.providers[2].kind
    else {
        panic!("{:?}", config.providers[2]);
    };
    assert_eq!(*access, IamAccess::Session);
    assert_eq!(settings.longest_session, Duration::from_secs(3_600));
    refused(
        &with_account(&account("again", "iam_policy", "")),
        &["account 111122223333", "another provider"],
    );
    for (key, value, expected) in [
        ("longest_session", "\"14m\"", "15m to 12h"),
        ("longest_session", "\"13h\"", "15m to 12h"),
        ("role", "\"x\"", "role"),
    ] {
        let more = format!("{key} = {value}");
        refused(
            &with_account(&account("sts", "iam_session", &more)),
            &[expected],
        );
    }
    let trusting = with_account("").replace("role =", "session_names = \"trusted\"\nrole =");
    let ProviderKind::Iam { settings, .. } = &read(&trusting).unwrap().providers[1].kind else {
        panic!("it is in IAM");
    };
    assert_eq!(settings.session_names, jit_iam::SessionNames::Trusted);
    let digits = with_account("").replace("111122223333", "11112222333");
    refused(&digits, &["12 digits"]);
}

#[test]
fn an_agent_has_caps_and_they_have_their_own_limits() {
    let caps = |text: &str| {
        let config = read(text).unwrap();
        let bot = config.people.find(&"agent:bot".parse().unwrap()).unwrap();
        match &bot.profile.kind {
            PrincipalKind::Agent { caps, .. } => *caps,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(caps(GOOD), AgentCaps::default());
    let with = |more: &str| format!("{GOOD}{more}\n");
    let all = with("open_max = 1\nper_hour = 1000\nttl_max = \"15m\"");
    let expected = AgentCaps {
        open: 1,
        per_hour: 1_000,
        ttl_max: "15m".parse().unwrap(),
    };
    assert_eq!(caps(&all), expected);
    for (more, expected) in [
        ("open_max = 0", "open_max"),
        ("open_max = 1001", "open_max"),
        ("per_hour = 0", "per_hour"),
        ("per_hour = 1001", "per_hour"),
        ("ttl_max = \"0m\"", "longer than zero"),
    ] {
        refused(&with(more), &["29: ", expected]);
    }
}

#[test]
fn the_tools_are_served_where_they_are_written_and_to_whom() {
    assert_eq!(read(GOOD).unwrap().agents, None);
    let with = |more: &str| format!("{GOOD}[mcp]\n{more}\n");
    let agents = read(&with("")).unwrap().agents.unwrap();
    assert_eq!(agents, jit_mcp::Settings::default());
    let more = "hosts = [\"jit.example.com\", \"10.0.0.1:8443\"]\n\
                origins = [\"https://console.example.com:443\"]";
    let agents = read(&with(more)).unwrap().agents.unwrap();
    assert_eq!(agents.hosts, ["jit.example.com", "10.0.0.1:8443"]);
    assert_eq!(agents.origins, ["https://console.example.com:443"]);
    for (word, decisions) in [
        ("by_id", Decisions::Any),
        ("by_digest", Decisions::OfWhatWasShown),
        ("off", Decisions::Elsewhere),
    ] {
        let agents = read(&with(&format!("decide = \"{word}\""))).unwrap().agents;
        assert_eq!(agents.unwrap().decisions, decisions);
    }
    for (more, expected) in [
        ("decide = \"never\"", "by_digest"),
        ("hosts = [\"https://jit.example.com\"]", "no https://"),
        ("hosts = [\"ana@jit.example.com\"]", "a host is a name"),
        ("hosts = [\"\"]", "a host is a name"),
        (
            "origins = [\"https://console.example.com\"]",
            "a scheme, a host and a port",
        ),
        (
            "origins = [\"console.example.com:443\"]",
            "a scheme, a host and a port",
        ),
        ("origins = [\"*\"]", "a scheme, a host and a port"),
    ] {
        refused(&with(more), &[expected]);
    }
}
