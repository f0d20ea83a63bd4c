//! Clocks are compared over HTTP, with systems that answer, hang, or say nothing of the time (K1).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::ClockOffset;
use jit_runtime::dates::Dates;
use jit_testkit::sample;
use jit_testkit::stage::Stage;
use reqwest::Url;

/// A system that answers every call with this.
fn answering(head: &'static str) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = [0; 1_024];
            let length = stream.read(&mut asked).unwrap();
            let asked = String::from_utf8_lossy(&asked[..length]).to_lowercase();
            assert!(asked.starts_with("head / http/1.1"), "{asked}");
            assert!(!asked.contains("authorization"), "{asked}");
            stream.write_all(head.as_bytes()).unwrap();
        }
    });
    format!("http://{address}/").parse().unwrap()
}

const AT_THE_START: &str = "HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";
const KEPT: &str = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 09:00:00 GMT\r\nAge: 32000\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";
const NO_DATE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn k1_the_date_of_any_answer_is_held_against_our_clock() {
    let stage = Stage::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let nobody = format!("http://{}/", closed.unwrap()).parse().unwrap();
    let origins = [
        answering(AT_THE_START),
        answering(NO_DATE),
        answering(KEPT),
        nobody,
    ];
    let dates = Dates::of(origins, Arc::clone(&stage.engine), stage.clock.clone());
    stage.clock.set(sample::start());
    dates.compare().await;
    assert_eq!(stage.engine.clock_offset(), ClockOffset::None);
    stage.clock.advance(Duration::from_secs(60));
    dates.compare().await;
    let by = Duration::from_secs(59);
    assert_eq!(stage.engine.clock_offset(), ClockOffset::Ahead(by));
}
