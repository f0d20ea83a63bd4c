//! The verbs of an operator with the configuration or the store at hand.

use std::os::unix::fs::PermissionsExt;

use jit_core::policy::Right;
use jit_runtime::operate::{
    AuditVerb, Circumstances, ConfigVerb, Form, OperateError, Operation, Outcome, PolicyVerb,
    TokenVerb, VerifyArgs,
};

use crate::house::{ADMINS, House};

fn explain(who: &str, right: Right) -> Operation {
    Operation::Policy(PolicyVerb::Explain {
        who: who.parse().unwrap(),
        right,
        entitlement: ADMINS.parse().unwrap(),
        circumstances: Circumstances::default(),
    })
}

#[tokio::test]
async fn a_check_tells_every_mistake_with_its_line() {
    let house = House::new();
    let check = || Operation::Config(ConfigVerb::Check);
    let (outcome, text) = house.operate_in(Form::Text, check()).await.unwrap();
    assert_eq!(outcome, Outcome::Well);
    assert!(
        text.contains("is sound: 1 provider, 1 entitlement, 1 tier, 3 rules"),
        "{text}"
    );
    let wrong = [
        ("tier = \"standard\"", "tier = \"standart\""),
        ("ttl_max", "ttl_maximum"),
    ];
    house.rewrite("jit.toml", &wrong);
    let (outcome, text) = house.operate_in(Form::Text, check()).await.unwrap();
    assert_eq!(outcome, Outcome::Wrong);
    assert!(
        text.contains("jit.toml:17:") && text.contains("write standard"),
        "{text}"
    );
    let (outcome, found) = house.operate(check()).await;
    assert_eq!(outcome, Outcome::Wrong);
    assert_eq!(
        found["problems"].as_array().unwrap().len(),
        text.lines().count()
    );
    std::fs::remove_file(house.file("jit.toml")).unwrap();
    let missing = house.operate_in(Form::Text, check()).await.unwrap_err();
    assert!(missing.to_string().contains("jitd init"), "{missing}");
}

#[tokio::test]
async fn an_explanation_says_what_every_rule_says() {
    let house = House::new();
    let (_, text) = house
        .operate_in(Form::Text, explain("ana", Right::Approve))
        .await
        .unwrap();
    let expected = "ana@example.com may not approve groupfile/admins\n  \
                    rule \"everybody may ask\" is about other rights\n  \
                    rule \"operations decide\" names other principals\n  \
                    rule \"operations operate\" is about other rights\n  \
                    no rule allows it\n";
    assert_eq!(text, expected);
    let (_, answer) = house.operate(explain("BOB", Right::Operate)).await;
    assert_eq!(
        (&answer["allowed"], &answer["principal"]),
        (&true.into(), &"bob@example.com".into())
    );
    let denied = "[[rule]]\nname = \"not the readers\"\neffect = \"deny\"\nrights = [\"operate\"]\n\
                  entitlements = [\"groupfile/readers\"]\nprincipals = [\"*\"]\n\n\
                  [[entitlement]]\nid = \"groupfile/readers\"\ntitle = \"Read\"\n\
                  tier = \"standard\"\n\n[audit]";
    house.rewrite("jit.toml", &[("[audit]", denied)]);
    let (_, answer) = house.operate(explain("bob", Right::Operate)).await;
    assert_eq!(
        answer["allowed"], false,
        "a right over everything is lost as a whole: {answer}"
    );
    let nobody = house
        .operate_in(Form::Text, explain("eve", Right::Approve))
        .await;
    assert!(matches!(nobody, Err(OperateError::UnknownPrincipal { .. })));
    assert!(!house.file("jit.db").exists(), "no store was needed");
}

#[tokio::test]
async fn a_verb_that_reads_a_store_makes_none() {
    let house = House::new();
    let verify = Operation::Audit(AuditVerb::Verify(VerifyArgs::default()));
    let missing = house.operate_in(Form::Text, verify).await;
    assert!(matches!(missing, Err(OperateError::NoStore { .. })));
    assert!(!house.file("jit.db").exists());
}

#[tokio::test]
async fn a_token_opens_the_door_until_it_is_revoked() {
    let house = House::new();
    let daemon = house.daemon().await;
    let file = house.file("ana.token");
    let new = |who: &str, file: &std::path::Path| {
        Operation::Token(TokenVerb::New {
            principal: who.parse().unwrap(),
            ttl: Some("1h".parse().unwrap()),
            label: "laptop".to_owned(),
            out: Some(file.to_owned()),
        })
    };
    let (_, made) = house.operate(new("ana", &file)).await;
    assert_eq!(made["principal"], "ana@example.com");
    assert!(
        made["token"].is_null(),
        "a token that is in a file is not printed"
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let ana = daemon.caller(text.trim_end().to_owned());
    assert_eq!(ana.get("/v1/me").await.0, 200);

    let again = house.operate_in(Form::Text, new("ana", &file)).await;
    assert!(matches!(again, Err(OperateError::File { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let other = house.file("eve.token");
    let nobody = house.operate_in(Form::Text, new("eve", &other)).await;
    assert!(matches!(nobody, Err(OperateError::UnknownPrincipal { .. })) && !other.exists());

    let (_, list) = house
        .operate_in(Form::Text, Operation::Token(TokenVerb::List))
        .await
        .unwrap();
    assert_eq!(list.lines().count(), 2, "one token and a heading: {list}");
    assert!(
        list.contains("ana@example.com  valid until ") && list.contains("laptop"),
        "{list}"
    );
    let id = made["id"].as_str().unwrap().to_owned();
    let revoke = || Operation::Token(TokenVerb::Revoke { id: id.clone() });
    house.operate(revoke()).await;
    assert_eq!(ana.get("/v1/me").await.0, 401);
    let twice = house.operate_in(Form::Text, revoke()).await.unwrap_err();
    assert!(twice.to_string().contains("was revoked at"), "{twice}");
    daemon.stop().await;
}
