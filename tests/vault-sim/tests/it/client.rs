//! A small raw client, and a stage to use it on.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use vault_sim::{AppRole, Capability, Setup, Sim, TokenRole, World};

/// 2026-11-26, 05:17:52 UTC.
pub(crate) const START: i64 = 1_795_670_272_000_000;

pub(crate) const ROOT: &str = "hvs.simulated-root";

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Reply {
    /// The sentences of an error.
    pub(crate) fn says(&self, words: &str) -> bool {
        let errors = self.body["errors"].as_array();
        errors.is_some_and(|it| it.iter().any(|it| it.as_str().unwrap().contains(words)))
    }

    pub(crate) fn token(&self) -> String {
        self.body["auth"]["client_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn accessor(&self) -> String {
        self.body["auth"]["accessor"].as_str().unwrap().to_owned()
    }
}

/// A Vault with an application, policies and a token role, whose time stands still.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Setup::default().manual(START))
    }

    pub(crate) fn with(setup: Setup) -> Self {
        use Capability::{Create, Read, Sudo, Update};
        let sim = Sim::start(setup).unwrap();
        let world = sim.world();
        world.put_policy("maker", &[("auth/token/*", &[Update])]);
        world.put_policy("chief", &[("auth/token/*", &[Update, Sudo])]);
        world.put_policy("reader", &[("secret/data/*", &[Read])]);
        world.put_policy("writer", &[("secret/data/*", &[Create, Update])]);
        world.put_token_role(TokenRole::new("agents", &["reader"]));
        world.put_app_role(AppRole::new("app", "the-role-id", &["maker", "reader"]));
        Self { sim }
    }

    pub(crate) fn world(&self) -> &World {
        self.sim.world()
    }

    pub(crate) fn attempt(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &Value,
    ) -> io::Result<Reply> {
        let address = self.sim.url().trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let length = body.len();
        let head = format!(
            "{method} /v1/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: \
             {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut seen = String::new();
        stream.read_to_string(&mut seen)?;
        let (head, text) = seen
            .split_once("\r\n\r\n")
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Reply {
            status: head[9..12].parse().unwrap(),
            body: serde_json::from_str(text).unwrap_or(Value::Null),
            head: head.to_lowercase(),
            text: text.to_owned(),
        })
    }

    pub(crate) fn get(&self, token: &str, path: &str) -> Reply {
        let headers = format!("x-vault-token: {token}\r\n");
        self.attempt("GET", path, &headers, &Value::Null).unwrap()
    }

    pub(crate) fn post(&self, token: &str, path: &str, body: Value) -> Reply {
        let headers = format!("x-vault-token: {token}\r\n");
        self.attempt("POST", path, &headers, &body).unwrap()
    }

    /// In a wrapping that lasts a minute.
    pub(crate) fn wrapped(&self, token: &str, path: &str, body: Value) -> Reply {
        let headers = format!("x-vault-token: {token}\r\nx-vault-wrap-ttl: 60s\r\n");
        self.attempt("POST", path, &headers, &body).unwrap()
    }

    pub(crate) fn login(&self, secret_id: &str) -> Reply {
        let body = json!({"role_id": "the-role-id", "secret_id": secret_id});
        self.attempt("POST", "auth/approle/login", "", &body)
            .unwrap()
    }

    /// A token of the application.
    pub(crate) fn app(&self) -> String {
        let secret_id = self.world().secret_id("app", None);
        self.login(&secret_id).token()
    }

    pub(crate) fn looked_up(&self, accessor: &str) -> Reply {
        self.post(
            ROOT,
            "auth/token/lookup-accessor",
            json!({ "accessor": accessor }),
        )
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.world().pass(Duration::from_secs(seconds));
    }
}
