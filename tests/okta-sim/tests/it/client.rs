//! A small raw client, and a stage to use it on.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use okta_sim::{ApiToken, Setup, Sim};
use serde_json::Value;

/// 2026-11-26, 05:17:52 UTC.
pub(crate) const START: i64 = 1_795_670_272_000_000;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Reply {
    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        (self.headers.iter())
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.header(name).parse().unwrap()
    }

    /// The code of the error.
    pub(crate) fn error(&self) -> &str {
        self.body["errorCode"].as_str().unwrap_or_default()
    }

    /// Where the next page is.
    pub(crate) fn next(&self) -> Option<String> {
        let links = self.all("link");
        let next = links.iter().find(|it| it.ends_with("; rel=\"next\""))?;
        Some(next.split(['<', '>']).nth(1)?.to_owned())
    }

    /// The ids of what is listed.
    pub(crate) fn ids(&self) -> Vec<String> {
        let listed = self.body.as_array().unwrap();
        (listed.iter())
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// One connection: requests that share it, and their answers until it closes.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) fn open(address: &str, patience: Duration) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, head: &str, body: &str) -> io::Result<Reply> {
        let length = body.len();
        let request = format!("{head}host: x\r\ncontent-length: {length}\r\n\r\n{body}");
        self.0.write_all(request.as_bytes())?;
        let mut seen = Vec::new();
        let head_end = loop {
            if let Some(at) = seen.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            self.more(&mut seen)?;
        };
        let head = String::from_utf8_lossy(&seen[..head_end]).into_owned();
        let headers: Vec<(String, String)> = (head.lines().skip(1))
            .filter_map(|it| it.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, it)| it.parse().unwrap());
        while seen.len() < head_end + length {
            self.more(&mut seen)?;
        }
        let text = String::from_utf8_lossy(&seen[head_end..]).into_owned();
        Ok(Reply {
            status: head[9..12].parse().unwrap(),
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        })
    }

    fn more(&mut self, seen: &mut Vec<u8>) -> io::Result<()> {
        let mut piece = [0; 65536];
        let read = self.0.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&piece[..read]);
        Ok(())
    }
}

/// An organization with two users and a group, whose time stands still.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
    pub(crate) authorization: String,
    pub(crate) ana: String,
    pub(crate) bob: String,
    pub(crate) admins: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Setup::default().manual(START))
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let sim = Sim::start(setup).unwrap();
        let world = sim.world();
        Self {
            authorization: format!("SSWS {}", ApiToken::default().secret),
            ana: world.add_user("ana@example.com", "ana@example.com"),
            bob: world.add_user("bob@example.com", "bob@example.com"),
            admins: world.add_group("admins"),
            sim,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.sim.url().trim_start_matches("http://").to_owned()
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire::open(&self.address(), PATIENCE)
    }

    pub(crate) fn head(&self, method: &str, path: &str) -> String {
        let authorization = &self.authorization;
        format!("{method} {path} HTTP/1.1\r\nauthorization: {authorization}\r\n")
    }

    /// A call whose connection may be lost.
    pub(crate) fn attempt(&self, method: &str, path: &str) -> io::Result<Reply> {
        self.wire().send(&self.head(method, path), "")
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Reply {
        self.attempt(method, path).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.call("GET", path)
    }

    /// What is at an address that an answer gave.
    pub(crate) fn follow(&self, url: &str) -> Reply {
        let path = url.strip_prefix(&self.sim.url()).unwrap();
        self.get(path)
    }

    /// Where Ana's membership is made and ended.
    pub(crate) fn membership(&self) -> String {
        format!("/api/v1/groups/{}/users/{}", self.admins, self.ana)
    }

    pub(crate) fn join(&self) -> Reply {
        self.call("PUT", &self.membership())
    }

    pub(crate) fn leave(&self) -> Reply {
        self.call("DELETE", &self.membership())
    }

    pub(crate) fn is_member(&self) -> bool {
        self.sim.world().is_member(&self.admins, &self.ana)
    }

    /// The members that the API lists on one page.
    pub(crate) fn listed(&self) -> Vec<String> {
        self.get(&format!("/api/v1/groups/{}/users", self.admins))
            .ids()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.sim.world().pass(Duration::from_secs(seconds));
    }
}
