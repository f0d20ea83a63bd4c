//! Lists in pages, and the links through them.

use okta_sim::{Deed, Hostility, Operation, Rule, Setup};

use crate::client::{Reply, START, Stage};

/// A stage whose group has this many members, on pages of at most two.
fn small_pages(members: u32) -> (Stage, String) {
    let setup = Setup {
        members_page_max: 2,
        ..Setup::default().manual(START)
    };
    let stage = Stage::with(setup);
    let group = stage.sim.world().fill("many", members);
    (stage, format!("/api/v1/groups/{group}/users"))
}

/// Every page from here on, at most ten.
fn pages(stage: &Stage, path: &str) -> Vec<Reply> {
    let mut pages = vec![stage.get(path)];
    while let Some(next) = pages.last().and_then(Reply::next) {
        if pages.len() == 10 {
            break;
        }
        pages.push(stage.follow(&next));
    }
    pages
}

fn sizes(pages: &[Reply]) -> Vec<usize> {
    pages.iter().map(|it| it.ids().len()).collect()
}

#[test]
fn links_lead_through_all_members_once() {
    let (stage, path) = small_pages(5);
    let pages = pages(&stage, &path);
    assert_eq!(sizes(&pages), [2, 2, 1]);
    let mut all: Vec<String> = pages.iter().flat_map(Reply::ids).collect();
    all.dedup();
    assert_eq!(all.len(), 5);
    let links = pages[0].all("link");
    assert_eq!(links.len(), 2);
    assert_eq!(
        links[0],
        format!("<{}{path}>; rel=\"self\"", stage.sim.url())
    );
    assert!(links[1].contains("?after=") && links[1].ends_with("; rel=\"next\""));
    assert_eq!(pages[2].all("link").len(), 1);
}

#[test]
fn a_list_that_just_fits_has_no_next_page() {
    let (stage, path) = small_pages(4);
    assert_eq!(sizes(&pages(&stage, &path)), [2, 2]);
}

#[test]
fn a_limit_is_kept_and_cut_to_the_most_there_may_be() {
    let (stage, path) = small_pages(3);
    assert_eq!(sizes(&pages(&stage, &format!("{path}?limit=1"))), [1, 1, 1]);
    assert_eq!(sizes(&pages(&stage, &format!("{path}?limit=1000"))), [2, 1]);
    for limit in ["0", "-1", "many"] {
        let reply = stage.get(&format!("{path}?limit={limit}"));
        assert_eq!((reply.status, reply.error()), (400, "E0000001"));
    }
}

#[test]
fn pages_are_as_big_as_okta_has_them() {
    let stage = Stage::new();
    let world = stage.sim.world();
    let group = world.fill("thousand", 1001);
    let members = format!("/api/v1/groups/{group}/users");
    assert_eq!(sizes(&pages(&stage, &members)), [1000, 1]);
    // With the two of the stage there are 1003 users.
    assert_eq!(
        sizes(&pages(&stage, "/api/v1/users")),
        [200, 200, 200, 200, 200, 3]
    );
    let q = stage.get("/api/v1/users?q=thousand");
    assert_eq!(q.ids().len(), 10);
    // What `q` finds cannot be paged.
    assert_eq!(q.next(), None);
    let q = stage.get("/api/v1/users?q=thousand&limit=11");
    assert_eq!((q.ids().len(), q.next()), (11, None));
    for number in 0..300 {
        world.add_group(&format!("group {number}"));
    }
    assert_eq!(sizes(&pages(&stage, "/api/v1/groups")), [302]);
    assert_eq!(sizes(&pages(&stage, "/api/v1/groups?q=g")), [300]);
    world.add_group("group 300");
    assert_eq!(sizes(&pages(&stage, "/api/v1/groups?q=g")), [300]);
}

#[test]
fn a_search_keeps_its_question_over_its_pages() {
    let stage = Stage::with(Setup {
        users_page_max: 1,
        ..Setup::default().manual(START)
    });
    stage
        .sim
        .world()
        .add_user("eve@example.org", "eve@example.org");
    let query = "/api/v1/users?search=profile.login+eq+%22ana@example.com%22+or+\
                 profile.login+eq+%22bob@example.com%22";
    let pages = pages(&stage, query);
    let mut found: Vec<String> = pages.iter().flat_map(Reply::ids).collect();
    found.sort();
    let mut both = [stage.ana.clone(), stage.bob.clone()];
    both.sort();
    assert_eq!(found, both);
}

#[test]
fn a_users_groups_come_in_pages_where_that_is_asked_for() {
    let stage = Stage::new();
    let world = stage.sim.world();
    for name in ["one", "two", "three"] {
        world.join(&world.add_group(name), &stage.ana);
    }
    let path = format!("/api/v1/users/{}/groups", stage.ana);
    assert_eq!(sizes(&pages(&stage, &path)), [3]);
    world.configure(|setup| setup.user_groups_page_max = Some(2));
    assert_eq!(sizes(&pages(&stage, &path)), [2, 1]);
}

#[test]
fn a_cursor_of_another_list_is_refused() {
    let (stage, path) = small_pages(3);
    let next = stage.get(&path).next().unwrap();
    let (_, cursor) = next.split_once("?after=").unwrap();
    let other = format!("/api/v1/groups/{}/users?after={cursor}", stage.admins);
    for path in [other, format!("{path}?after=nonsense")] {
        let reply = stage.get(&path);
        assert_eq!((reply.status, reply.error()), (400, "E0000001"));
    }
}

#[test]
fn a_page_may_be_repeated() {
    let (stage, path) = small_pages(4);
    let repeat = Rule::new(Operation::ListGroupUsers, Hostility::RepeatPage);
    stage.sim.world().rule(repeat.times(1));
    let pages = pages(&stage, &path);
    assert_eq!(sizes(&pages), [2, 2, 2]);
    assert_eq!(pages[0].ids(), pages[1].ids());
    assert_ne!(pages[1].ids(), pages[2].ids());
}

#[test]
fn pages_may_never_end() {
    let (stage, path) = small_pages(3);
    let world = stage.sim.world();
    world.hostile(Operation::ListGroupUsers, Hostility::EndlessPages);
    let endless = pages(&stage, &path);
    assert_eq!(sizes(&endless), [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_ne!(endless[8].next(), endless[9].next());
    world.calm();
    world.hostile(Operation::ListGroupUsers, Hostility::RepeatPage);
    assert_eq!(sizes(&pages(&stage, &path)), [2; 10]);
}

#[test]
fn a_page_may_be_empty_and_not_be_the_last() {
    let (stage, path) = small_pages(3);
    let empty = Rule::new(Operation::ListGroupUsers, Hostility::EmptyPage);
    stage.sim.world().rule(empty.times(1));
    assert_eq!(sizes(&pages(&stage, &path)), [0, 2, 1]);
}

#[test]
fn a_next_page_may_be_said_to_be_elsewhere() {
    let (stage, path) = small_pages(1);
    let url = "http://other.example.com/api/v1/users".to_owned();
    stage.sim.world().hostile(
        Operation::ListGroupUsers,
        Hostility::NextElsewhere(url.clone()),
    );
    assert_eq!(stage.get(&path).next(), Some(url));
}

#[test]
fn members_may_change_between_two_pages() {
    let (stage, path) = small_pages(4);
    let world = stage.sim.world();
    let group = path.split('/').nth(4).unwrap().to_owned();
    let members = world.members(&group);
    let leaves = Deed::Leave {
        group: group.clone(),
        user: members[2].clone(),
    };
    let rule = Rule::new(Operation::ListGroupUsers, Hostility::Then(leaves));
    world.rule(rule.times(1));
    assert_eq!(sizes(&pages(&stage, &path)), [2, 1]);
    assert_eq!(world.members(&group).len(), 3);

    // One who leaves from a page that was shown moves nobody to another page.
    let leaves = Deed::Leave {
        group: group.clone(),
        user: members[0].clone(),
    };
    let joins = Deed::Join {
        group,
        user: members[2].clone(),
    };
    for deed in [leaves, joins] {
        let rule = Rule::new(Operation::ListGroupUsers, Hostility::Then(deed));
        world.rule(rule.times(1));
    }
    let pages = pages(&stage, &path);
    let seen: Vec<String> = pages.iter().flat_map(Reply::ids).collect();
    assert_eq!(seen, members);
}
