//! What goes wrong on demand, from a test and through the control API.

use serde_json::{Value, json};
use telegram_sim::{Fault, TOKEN, Times};

use crate::client::{ANA, CHAT, call, posted, raw, refused, sim, well};

#[test]
fn a_fault_happens_as_often_as_it_is_to() {
    let sim = sim();
    let busy = Fault::TooMany {
        retry_after: Some(7),
    };
    sim.world().fail("getMe", busy, Times::Next(1));
    let (status, said) = call(&sim, "getMe", json!({}));
    assert_eq!(status, 429);
    assert_eq!(said["parameters"]["retry_after"], 7);
    well(&sim, "getMe", json!({}));
    let gone = Fault::Refused {
        code: 403,
        description: "Forbidden: bot was blocked by the user".to_owned(),
    };
    sim.world().fail("*", gone, Times::Always);
    for _ in 0..3 {
        refused(&sim, 403, "getMe", json!({}));
    }
    sim.world().calm();
    well(&sim, "getMe", json!({}));
}

#[test]
fn what_is_lost_was_done_and_what_breaks_was_not() {
    let sim = sim();
    let url = format!("{}/bot{TOKEN}/sendMessage?chat_id={CHAT}&text=a", sim.url());
    for (fault, seen, done) in [
        (Fault::LostReply, None, true),
        (Fault::Garbage, Some(200), true),
        (Fault::Slow { ms: 1 }, Some(200), true),
        (Fault::ServerError, Some(502), false),
        (
            Fault::Redirect {
                to: "http://127.0.0.1:9/".to_owned(),
            },
            Some(307),
            false,
        ),
    ] {
        let before = sim.world().messages(CHAT).len();
        sim.world()
            .fail("sendMessage", fault.clone(), Times::Next(1));
        let status = raw(&url, "", "").map(|(status, _)| status);
        assert_eq!(status, seen, "{fault:?}");
        let after = sim.world().messages(CHAT).len();
        assert_eq!(after, before + usize::from(done), "{fault:?}");
        assert_eq!(
            sim.world().calls().last().unwrap().status,
            seen,
            "{fault:?}"
        );
    }
}

#[test]
fn others_do_the_same_over_http() {
    let sim = sim();
    let control = |path: &str, body: Value| {
        let json = "Content-Type: application/json\r\n";
        raw(
            &format!("{}/sim/{path}", sim.url()),
            json,
            &body.to_string(),
        )
        .unwrap()
    };
    control("people", json!({"id": 8, "name": "Bob"}));
    control(
        "groups",
        json!({"id": -5, "title": "Others", "members": [8, ANA]}),
    );
    let id = posted(&sim, "x");
    let press = json!({"person": ANA, "chat": CHAT, "message": id, "text": "Yes"});
    let (status, said) = control("press", press);
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("click"), "{said}");
    let press = json!({"person": 8, "chat": CHAT, "message": id, "text": "Yes"});
    assert_eq!(control("press", press).0, 409);
    control(
        "fail",
        json!({"method": "*", "fault": {"do": "server_error"}, "times": "always"}),
    );
    let url = format!("{}/bot{TOKEN}/getMe", sim.url());
    assert_eq!(raw(&url, "", "").unwrap().0, 502);
    control("calm", json!({}));
    assert_eq!(raw(&url, "", "").unwrap().0, 200);
    control("delete", json!({"chat": CHAT, "message": id}));
    assert!(sim.world().messages(CHAT).is_empty());
}
