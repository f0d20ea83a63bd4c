//! The identity store, and the organization.

use serde_json::{Value, json};

use crate::client::{ACCOUNT, Stage};

#[test]
fn a_user_is_described() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.add_external_id(&stage.user, "https://idp.example.com", "ext-1");
    let user = stage
        .store("DescribeUser", json!({"UserId": stage.user}))
        .body;
    assert_eq!(user["UserName"], "ana");
    assert_eq!(user["Emails"][0]["Value"], "ana@example.com");
    assert_eq!(user["ExternalIds"][0]["Id"], "ext-1");
    assert_eq!(user["UserStatus"], "ENABLED");
    world.set_disabled(&stage.user, true);
    let user = stage
        .store("DescribeUser", json!({"UserId": stage.user}))
        .body;
    assert_eq!(user["UserStatus"], "DISABLED");
    world.delete_user(&stage.user);
    let reply = stage.store("DescribeUser", json!({"UserId": stage.user}));
    assert_eq!(
        (reply.status, reply.error()),
        (400, "ResourceNotFoundException")
    );
    assert_eq!(reply.body["ResourceType"], "USER");
    let reply = stage.store("DescribeUser", json!({"UserId": "ana"}));
    assert_eq!(reply.error(), "ValidationException");
}

#[test]
fn users_are_found_by_name_and_external_id() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let bo = world.add_user("bo", "");
    world.add_external_id(&bo, "https://idp.example.com", "ext-2");
    let found = |path: &str, value: &str| {
        let filter = json!([{"AttributePath": path, "AttributeValue": value}]);
        let body = stage.store("ListUsers", json!({"Filters": filter})).body;
        let ids: Vec<Value> = (body["Users"].as_array().unwrap().iter())
            .map(|it| it["UserId"].clone())
            .collect();
        ids
    };
    assert_eq!(found("UserName", "ana"), [json!(stage.user)]);
    assert_eq!(found("ExternalId", "ext-2"), [json!(bo)]);
    assert!(found("UserName", "nobody").is_empty());
    let all = stage.store("ListUsers", json!({})).body;
    assert_eq!(all["Users"].as_array().unwrap().len(), 2);
    let filter = json!([{"AttributePath": "NickName", "AttributeValue": "a"}]);
    let reply = stage.store("ListUsers", json!({"Filters": filter}));
    assert_eq!(reply.error(), "ValidationException");
}

#[test]
fn a_user_id_is_found_by_what_is_unique() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.add_external_id(&stage.user, "https://idp.example.com", "ext-1");
    let unique = |path: &str, value: &str| {
        json!({"AlternateIdentifier": {
            "UniqueAttribute": {"AttributePath": path, "AttributeValue": value},
        }})
    };
    let external = |issuer: &str, id: &str| json!({"AlternateIdentifier": {"ExternalId": {"Issuer": issuer, "Id": id}}});
    for asked in [
        unique("userName", "ana"),
        unique("emails.value", "ana@example.com"),
        external("https://idp.example.com", "ext-1"),
    ] {
        let reply = stage.store("GetUserId", asked);
        assert_eq!(reply.body["UserId"], json!(stage.user), "{}", reply.text);
    }
    for asked in [
        unique("emails.value", "bo@example.com"),
        external("https://other.example.com", "ext-1"),
    ] {
        let reply = stage.store("GetUserId", asked);
        assert_eq!(reply.error(), "ResourceNotFoundException");
    }
    for asked in [
        json!({}),
        json!({"AlternateIdentifier": {}}),
        unique("nickName", "a"),
    ] {
        assert_eq!(
            stage.store("GetUserId", asked).error(),
            "ValidationException"
        );
    }
    let elsewhere = json!({"IdentityStoreId": "d-0000000000", "UserId": stage.user});
    let reply = stage.raw("AWSIdentityStore.DescribeUser", &elsewhere);
    assert_eq!(reply.body["ResourceType"], "IDENTITY_STORE");
}

#[test]
fn an_organization_has_accounts_and_one_that_manages() {
    let stage = Stage::new();
    let organization = stage.organizations("DescribeOrganization", json!({})).body;
    let management = stage.sim.world().management_account();
    assert_eq!(
        organization["Organization"]["MasterAccountId"],
        json!(management)
    );
    let account = stage
        .organizations("DescribeAccount", json!({"AccountId": ACCOUNT}))
        .body;
    assert_eq!(account["Account"]["Name"], "production");
    assert_eq!(account["Account"]["Status"], "ACTIVE");
    stage.sim.world().suspend_account(ACCOUNT);
    let account = stage
        .organizations("DescribeAccount", json!({"AccountId": ACCOUNT}))
        .body;
    assert_eq!(account["Account"]["Status"], "SUSPENDED");
    stage.sim.world().remove_account(ACCOUNT);
    let reply = stage.organizations("DescribeAccount", json!({"AccountId": ACCOUNT}));
    assert_eq!(reply.error(), "AccountNotFoundException");
}
