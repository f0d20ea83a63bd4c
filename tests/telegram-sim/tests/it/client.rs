//! A client that knows nothing but HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use telegram_sim::{Sim, TOKEN};

pub(crate) const CHAT: i64 = -100;
pub(crate) const ANA: i64 = 7;

/// A simulator with Ana in a group.
pub(crate) fn sim() -> Sim {
    let sim = Sim::start().unwrap();
    let world = sim.world();
    world.add_person(ANA, "Ana");
    world.add_group(CHAT, "Access", &[ANA]);
    sim
}

/// One call over HTTP; the status and the body, if there is an answer.
pub(crate) fn raw(url: &str, head: &str, body: &str) -> Option<(u16, String)> {
    let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /{path} HTTP/1.0\r\nHost: {host}\r\n{head}Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A method with JSON; the status and the answer.
pub(crate) fn call(sim: &Sim, method: &str, arguments: Value) -> (u16, Value) {
    let url = format!("{}/bot{TOKEN}/{method}", sim.url());
    let json = "Content-Type: application/json\r\n";
    let (status, body) = raw(&url, json, &arguments.to_string()).unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

/// The result of a call that is well.
pub(crate) fn well(sim: &Sim, method: &str, arguments: Value) -> Value {
    let (status, answer) = call(sim, method, arguments);
    assert_eq!((status, &answer["ok"]), (200, &json!(true)), "{answer}");
    answer["result"].clone()
}

/// The description of a call that is refused with this status.
pub(crate) fn refused(sim: &Sim, code: u16, method: &str, arguments: Value) -> String {
    let (status, answer) = call(sim, method, arguments);
    assert_eq!(status, code, "{answer}");
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["error_code"], code);
    answer["description"].as_str().unwrap().to_owned()
}

/// A message with one button that carries this; its id.
pub(crate) fn posted(sim: &Sim, data: &str) -> i64 {
    let keyboard = json!({"inline_keyboard": [[{"text": "Yes", "callback_data": data}]]});
    let message = json!({"chat_id": CHAT, "text": "?", "reply_markup": keyboard});
    well(sim, "sendMessage", message)["message_id"]
        .as_i64()
        .unwrap()
}
