//! Lists, in pages.

use std::collections::BTreeSet;

use aws_sim::{Hostility, Setup};
use serde_json::{Value, json};

use crate::client::{ACCOUNT, START, Stage};

/// Every page of a list: how many each had, and all entries.
fn pages(ask: impl Fn(Option<&str>) -> Value, name: &str) -> (Vec<usize>, Vec<Value>) {
    let (mut sizes, mut all, mut token) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let answer = ask(token.as_deref());
        let entries = answer[name].as_array().unwrap().clone();
        sizes.push(entries.len());
        all.extend(entries);
        match answer["NextToken"].as_str() {
            Some(next) => token = Some(next.to_owned()),
            None => return (sizes, all),
        }
    }
}

fn crowd(stage: &Stage, people: u32) {
    let world = stage.sim.world();
    for number in 0..people {
        let user = world.add_user(&format!("user-{number:03}"), "");
        world.assign(ACCOUNT, &stage.set, &user);
    }
}

#[test]
fn assignments_come_a_hundred_at_a_time() {
    let stage = Stage::new();
    crowd(&stage, 201);
    let ask = |token: Option<&str>| {
        let mut asked = json!({"AccountId": ACCOUNT, "PermissionSetArn": stage.set});
        if let Some(token) = token {
            asked["NextToken"] = json!(token);
        }
        stage.sso("ListAccountAssignments", asked).body
    };
    let (sizes, all) = pages(ask, "AccountAssignments");
    assert_eq!(sizes, [100, 100, 1]);
    let people: BTreeSet<&str> = all
        .iter()
        .map(|it| it["PrincipalId"].as_str().unwrap())
        .collect();
    assert_eq!(people.len(), 201);
}

#[test]
fn an_entry_that_goes_between_two_pages_hides_no_other() {
    let setup = Setup {
        page_max: 2,
        ..Setup::default()
    };
    let stage = Stage::with(setup.manual(START));
    crowd(&stage, 5);
    let first = stage.sso(
        "ListAccountAssignments",
        json!({"AccountId": ACCOUNT, "PermissionSetArn": stage.set}),
    );
    for it in first.body["AccountAssignments"].as_array().unwrap() {
        let who = it["PrincipalId"].as_str().unwrap();
        assert!(stage.sim.world().unassign(ACCOUNT, &stage.set, who));
    }
    let asked = json!({
        "AccountId": ACCOUNT, "PermissionSetArn": stage.set, "NextToken": first.body["NextToken"],
    });
    let second = stage.sso("ListAccountAssignments", asked);
    assert_eq!(
        second.body["AccountAssignments"].as_array().unwrap().len(),
        2
    );
    assert!(second.body["NextToken"].is_string());
}

#[test]
fn a_token_is_good_for_its_own_list_only() {
    let setup = Setup {
        page_max: 1,
        ..Setup::default()
    };
    let stage = Stage::with(setup.manual(START));
    crowd(&stage, 2);
    let first = stage.store("ListUsers", json!({}));
    let token = first.body["NextToken"].as_str().unwrap();
    let reply = stage.sso("ListPermissionSets", json!({"NextToken": token}));
    assert_eq!(reply.error(), "ValidationException");
    let reply = stage.organizations("ListAccounts", json!({"NextToken": "nonsense"}));
    assert_eq!(reply.error(), "InvalidInputException");
    assert_eq!(reply.body["Reason"], "INVALID_NEXT_TOKEN");
}

#[test]
fn accounts_come_twenty_at_a_time_and_no_more_may_be_asked() {
    let stage = Stage::new();
    stage.sim.world().fill(45, 1);
    let ask = |token: Option<&str>| {
        let asked = token.map_or(json!({}), |it| json!({"NextToken": it}));
        stage.organizations("ListAccounts", asked).body
    };
    let (sizes, all) = pages(ask, "Accounts");
    assert_eq!(sizes, [20, 20, 7]);
    assert_eq!(all[0]["Name"], "management");
    let reply = stage.organizations("ListAccounts", json!({"MaxResults": 21}));
    assert_eq!(reply.error(), "InvalidInputException");
    let reply = stage.sso("ListPermissionSets", json!({"MaxResults": 0}));
    assert_eq!(reply.error(), "ValidationException");
    let reply = stage.organizations("ListAccounts", json!({"MaxResults": 3}));
    assert_eq!(reply.body["Accounts"].as_array().unwrap().len(), 3);
}

#[test]
fn a_page_may_be_empty_and_still_have_a_token() {
    let stage = Stage::new();
    crowd(&stage, 1);
    let empty = Hostility::EmptyPage;
    stage
        .sim
        .world()
        .hostile_times("ListAccountAssignments", empty, 1);
    let ask = |token: Option<&str>| {
        let mut asked = json!({"AccountId": ACCOUNT, "PermissionSetArn": stage.set});
        if let Some(token) = token {
            asked["NextToken"] = json!(token);
        }
        stage.sso("ListAccountAssignments", asked).body
    };
    assert_eq!(pages(ask, "AccountAssignments").0, [0, 1]);
}

#[test]
fn statuses_are_listed_by_what_they_are() {
    let stage = Stage::new();
    let first = stage.create();
    stage.advance(10);
    let second = stage.create();
    let failing = stage.sim.world().add_user("bo", "");
    stage.sso(
        "DeleteAccountAssignment",
        stage.wanted_of(ACCOUNT, &failing),
    );
    let listed = |operation: &str, filter: Value| {
        let mut asked = json!({});
        if filter.is_string() {
            asked["Filter"] = json!({"Status": filter});
        }
        let body = stage.sso(operation, asked).body;
        let name = operation
            .replace("List", "")
            .replace("Assignment", "Assignments");
        let ids: Vec<String> = (body[&name].as_array().unwrap().iter())
            .map(|it| it["RequestId"].as_str().unwrap().to_owned())
            .collect();
        ids
    };
    let creations = "ListAccountAssignmentCreationStatus";
    assert_eq!(
        listed(creations, Value::Null),
        [first.clone(), second.clone()]
    );
    assert_eq!(listed(creations, json!("SUCCEEDED")), [first]);
    assert_eq!(listed(creations, json!("IN_PROGRESS")), [second]);
    let deletions = "ListAccountAssignmentDeletionStatus";
    assert!(listed(deletions, json!("FAILED")).is_empty());
    stage.advance(10);
    assert_eq!(listed(deletions, json!("FAILED")).len(), 1);
}

#[test]
fn what_is_provisioned_is_listed_both_ways() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.add_account("333333333333", "staging");
    let unused = world.add_permission_set("Unused", std::time::Duration::from_secs(3600));
    let bo = world.add_user("bo", "");
    world.assign(ACCOUNT, &stage.set, &stage.user);
    world.assign(ACCOUNT, &stage.set, &bo);
    let reply = stage.sso(
        "ListPermissionSetsProvisionedToAccount",
        json!({"AccountId": ACCOUNT}),
    );
    assert_eq!(reply.body["PermissionSets"], json!([stage.set]));
    let asked = json!({"PermissionSetArn": stage.set});
    let reply = stage.sso("ListAccountsForProvisionedPermissionSet", asked);
    assert_eq!(reply.body["AccountIds"], json!([ACCOUNT]));
    let asked = json!({"PermissionSetArn": unused});
    let reply = stage.sso("ListAccountsForProvisionedPermissionSet", asked);
    assert_eq!(reply.body["AccountIds"], json!([]));
    let reply = stage.sso("ListPermissionSets", json!({}));
    assert_eq!(reply.body["PermissionSets"].as_array().unwrap().len(), 2);
}

#[test]
fn a_principals_assignments_are_listed_across_accounts() {
    let stage = Stage::new();
    let world = stage.sim.world();
    world.add_account("333333333333", "staging");
    for account in [ACCOUNT, "333333333333"] {
        world.assign(account, &stage.set, &stage.user);
    }
    let mut asked = json!({"PrincipalId": stage.user, "PrincipalType": "USER"});
    let all = stage.sso("ListAccountAssignmentsForPrincipal", asked.clone());
    assert_eq!(all.body["AccountAssignments"].as_array().unwrap().len(), 2);
    let mut as_group = asked.clone();
    as_group["PrincipalType"] = json!("GROUP");
    let none = stage.sso("ListAccountAssignmentsForPrincipal", as_group);
    assert_eq!(none.body["AccountAssignments"], json!([]));
    asked["Filter"] = json!({"AccountId": ACCOUNT});
    let one = stage.sso("ListAccountAssignmentsForPrincipal", asked);
    assert_eq!(one.body["AccountAssignments"].as_array().unwrap().len(), 1);
    assert_eq!(one.body["AccountAssignments"][0]["AccountId"], ACCOUNT);
}
