//! The two ways to hear of things: asked for, and called.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::client::{ANA, CHAT, posted, refused, sim, well};

fn numbers(updates: &Value) -> Vec<i64> {
    let updates = updates.as_array().unwrap().iter();
    updates
        .map(|it| it["update_id"].as_i64().unwrap())
        .collect()
}

#[test]
fn updates_are_numbered_and_shown_until_they_are_confirmed() {
    let sim = sim();
    let id = posted(&sim, "x");
    for _ in 0..3 {
        sim.world().press(ANA, CHAT, id, "Yes").unwrap();
    }
    let get = |arguments: Value| numbers(&well(&sim, "getUpdates", arguments));
    assert_eq!(get(json!({})), [1, 2, 3]);
    assert_eq!(get(json!({})), [1, 2, 3]);
    assert_eq!(get(json!({"limit": 2})), [1, 2]);
    assert_eq!(get(json!({"offset": 2})), [2, 3]);
    assert_eq!(get(json!({"offset": 1})), [2, 3]);
    assert_eq!(get(json!({"offset": -1})), [3]);
    assert_eq!(get(json!({"offset": 4})), [] as [i64; 0]);
}

#[test]
fn only_what_is_wanted_is_told() {
    let sim = sim();
    let id = posted(&sim, "x");
    well(
        &sim,
        "getUpdates",
        json!({"allowed_updates": ["callback_query"]}),
    );
    sim.world().say(ANA, CHAT, "hello");
    sim.world().press(ANA, CHAT, id, "Yes").unwrap();
    assert_eq!(numbers(&well(&sim, "getUpdates", json!({}))), [2]);
}

#[test]
fn whoever_waits_hears_of_it_at_once() {
    let sim = sim();
    let id = posted(&sim, "x");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| well(&sim, "getUpdates", json!({"timeout": 50})));
        while !sim
            .world()
            .calls()
            .iter()
            .any(|it| it.method == "getUpdates")
        {
            std::thread::yield_now();
        }
        sim.world().press(ANA, CHAT, id, "Yes").unwrap();
        assert_eq!(numbers(&waiting.join().unwrap()), [1]);
    });
}

#[test]
fn of_two_who_ask_the_first_is_told_to_go() {
    let sim = sim();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| refused(&sim, 409, "getUpdates", json!({"timeout": 50})));
        while !sim
            .world()
            .calls()
            .iter()
            .any(|it| it.method == "getUpdates")
        {
            std::thread::yield_now();
        }
        well(&sim, "getUpdates", json!({}));
        let said = first.join().unwrap();
        assert!(said.contains("terminated by other getUpdates"), "{said}");
    });
}

#[test]
fn nobody_asks_while_a_webhook_is_set() {
    let sim = sim();
    let url = "http://127.0.0.1:9/hook";
    well(&sim, "setWebhook", json!({"url": url, "secret_token": "s"}));
    assert_eq!(well(&sim, "getWebhookInfo", json!({}))["url"], url);
    let said = refused(&sim, 409, "getUpdates", json!({}));
    assert!(said.contains("webhook is active"), "{said}");
    well(&sim, "deleteWebhook", json!({}));
    well(&sim, "getUpdates", json!({}));
    for bad in ["a b", "ö", &"x".repeat(257)] {
        let said = refused(
            &sim,
            400,
            "setWebhook",
            json!({"url": url, "secret_token": bad}),
        );
        assert!(said.contains("unallowed characters"), "{said}");
    }
    refused(
        &sim,
        400,
        "setWebhook",
        json!({"url": "http://example.com/hook"}),
    );
}

#[test]
fn a_webhook_is_called_with_its_secret_until_it_takes_an_update() {
    let sim = sim();
    let id = posted(&sim, "x");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    well(
        &sim,
        "setWebhook",
        json!({"url": url, "secret_token": "s_-9"}),
    );
    for _ in 0..2 {
        sim.world().press(ANA, CHAT, id, "Yes").unwrap();
    }
    let mut bodies = vec![];
    for status in ["500 Broken", "302 Found", "200 OK", "204 Fine"] {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        while !request.ends_with('}') {
            let mut buffer = [0; 4_096];
            let read = stream.read(&mut buffer).unwrap();
            request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("X-Telegram-Bot-Api-Secret-Token: s_-9\r\n"),
            "{request}"
        );
        let body: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        bodies.push(body["update_id"].as_i64().unwrap());
    }
    assert_eq!(bodies, [1, 1, 1, 2]);
    let said = well(&sim, "getWebhookInfo", json!({}));
    assert!(
        said["last_error_message"].as_str().unwrap().contains("302"),
        "{said}"
    );
}
