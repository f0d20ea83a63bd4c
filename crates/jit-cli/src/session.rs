//! Calls to the server: with the token, a deadline each, no redirects, and answers of a bounded
//! size.

use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::time::Instant;

use crate::error::CliError;
use crate::model::ErrorBody;
use crate::text::Inert;

/// How long a call may take, beside the time that it asks to wait.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a call that carries a key is made, and the pause before it is made again.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// The longest answer, in bytes.
const ANSWER_LIMIT: usize = 16 << 20;
/// The longest token file, in bytes.
const TOKEN_FILE_LIMIT: u64 = 4 << 10;
/// The form of `Date`, by RFC 9110 section 5.6.7.
const IMF_FIXDATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// A server and a token.
pub struct Session {
    client: Client,
    server: Url,
    shown: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("server", &self.shown)
            .finish_non_exhaustive()
    }
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    method: Method,
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    wait: Duration,
    key: Option<String>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &[&'a str]) -> Self {
        Self {
            method: Method::GET,
            path: path.to_vec(),
            query: vec![],
            body: None,
            wait: Duration::ZERO,
            key: None,
        }
    }

    pub(crate) fn post(path: &[&'a str], body: Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(path)
        }
    }

    /// With these parameters; those without a value are left out.
    pub(crate) fn with(mut self, query: Vec<(&'static str, Option<String>)>) -> Self {
        let given = query
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        self.query.extend(given);
        self
    }

    /// Waiting at the server for this long.
    pub(crate) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self.query.push(("wait", format!("{}s", wait.as_secs())));
        self
    }
}

/// An answer that is a success: JSON.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) text: String,
    server: String,
    date: Option<OffsetDateTime>,
    arrived: Instant,
}

impl Reply {
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_str(&self.text).map_err(|error| CliError::Strange {
            server: self.server.clone(),
            what: Inert::of(&error.to_string()).to_string(),
        })
    }

    /// What time it is by the server's clock, which is the one that ends access; none where the
    /// server did not say.
    pub(crate) fn now(&self) -> Option<OffsetDateTime> {
        Some(self.date? + self.arrived.elapsed())
    }

    /// How long ago it arrived.
    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }
}

impl Session {
    /// A session with this server. A token goes over plain HTTP only to this very machine.
    pub fn new(server: &str, token: &SecretString) -> Result<Self, CliError> {
        let bad = |rule: &str| {
            let server: String = Inert::of(server).as_str().chars().take(200).collect();
            CliError::BadInput(format!("{server:?} cannot be the server: {rule}"))
        };
        let url = Url::parse(server)
            .map_err(|_| bad("write an address such as https://jit.example.com"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(
                "leave the name and the password out; the token is enough",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("leave out everything from the ? or # on"));
        }
        let local = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            "http" => return Err(bad("a token is sent to another machine by https:// only")),
            _ => {
                return Err(bad(
                    "it begins with https://, or with http:// on this machine",
                ));
            }
        }
        // Another part of the process may have installed it before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .default_headers(bearer(token)?)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("jit/", env!("CARGO_PKG_VERSION")));
        if local {
            // A proxy would see the token in the clear.
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| bad(&causes(&error)))?;
        let shown = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self {
            client,
            server: url,
            shown,
        })
    }

    /// The client, which sends the token with every call; and where the server is.
    pub fn into_parts(self) -> (Client, Url) {
        (self.client, self.server)
    }

    /// The token in this file.
    pub fn token_from(file: &Path) -> Result<SecretString, CliError> {
        let shown = file.display();
        let bad = |why: &str| CliError::BadInput(format!("the token file {shown} {why}"));
        let unreadable = |error: std::io::Error| bad(&format!("cannot be read: {error}"));
        // Asked before it is opened: a pipe or a device would never come to its end.
        let known = std::fs::metadata(file).map_err(unreadable)?;
        if !known.is_file() {
            return Err(bad("is not a file"));
        }
        if known.len() > TOKEN_FILE_LIMIT {
            return Err(bad("is too large to hold a token"));
        }
        let text = std::fs::read_to_string(file)
            .map(SecretString::from)
            .map_err(unreadable)?;
        match text.expose_secret().trim() {
            "" => Err(bad("is empty")),
            token => Ok(SecretString::from(token)),
        }
    }

    /// Makes one call.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Reply, CliError> {
        let deadline = DEADLINE + call.wait;
        let answered = tokio::time::timeout(deadline, self.send(call)).await;
        answered.unwrap_or_else(|_| {
            Err(CliError::TooSlow {
                server: self.shown.clone(),
                secs: deadline.as_secs(),
            })
        })
    }

    /// Makes something new, once: the call carries a key of its own, so that it can be made again
    /// where its answer was lost.
    pub(crate) async fn create(&self, path: &[&str], body: Value) -> Result<Reply, CliError> {
        let call = Call {
            key: Some(fresh_key()?),
            ..Call::post(path, body)
        };
        let mut lost = None;
        for _ in 0..TRIES {
            match self.call(call.clone()).await {
                Err(error) if error.may_be_done() => lost = Some(error),
                // Once an answer was lost, a server that is away now says nothing about it.
                Err(error) if lost.is_some() && error.may_pass() => {}
                answered => return answered,
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(lost.unwrap_or_else(|| self.strange("it is lost every time")))
    }

    async fn send(&self, call: Call<'_>) -> Result<Reply, CliError> {
        let mut url = self.server.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&call.path);
        }
        let mut request = self.client.request(call.method, url).query(&call.query);
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        let mut response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let date = date_of(response.headers());
        let mut bytes = vec![];
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.unreachable(&error))?
        {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(self.strange("it does not end"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes).map_err(|_| self.strange("it is not text"))?;
        if !status.is_success() {
            return Err(self.refusal(status, &text));
        }
        if serde_json::from_str::<IgnoredAny>(&text).is_err() {
            return Err(self.strange("it is not JSON"));
        }
        Ok(Reply {
            text,
            server: self.shown.clone(),
            date,
            arrived: Instant::now(),
        })
    }

    fn refusal(&self, status: StatusCode, text: &str) -> CliError {
        let Ok(body) = serde_json::from_str::<ErrorBody>(text) else {
            return self.strange(&format!("status {}", status.as_u16()));
        };
        let (code, message) = (body.error.code.to_string(), body.error.message.to_string());
        match code.as_str() {
            "failed" | "too_slow" | "not_ready" => CliError::Failed { message },
            _ => CliError::Refused { code, message },
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let (server, why) = (self.shown.clone(), causes(error));
        match error.is_connect() || error.is_builder() {
            true => CliError::Unreachable { server, why },
            false => CliError::Broken { server, why },
        }
    }

    fn strange(&self, what: &str) -> CliError {
        let (server, what) = (self.shown.clone(), what.to_owned());
        CliError::Strange { server, what }
    }
}

/// A key that nobody else uses.
fn fresh_key() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::BadInput(format!("this machine has no random numbers: {error}"))
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn bearer(token: &SecretString) -> Result<HeaderMap, CliError> {
    let text = SecretString::from(format!("Bearer {}", token.expose_secret()));
    let bad = || CliError::BadInput("the token has characters that no token has".to_owned());
    let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("");
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

fn date_of(headers: &HeaderMap) -> Option<OffsetDateTime> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let date = PrimitiveDateTime::parse(text, IMF_FIXDATE).ok()?;
    Some(date.assume_utc())
}

/// The innermost cause, which is the one that helps, without the address that is told anyway.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.source().is_none() {
        return "the connection broke".to_owned();
    }
    Inert::of(&innermost.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(server: &str) -> Result<Session, String> {
        Session::new(server, &SecretString::from("jit_x_y")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_goes_in_the_clear_only_to_this_machine() {
        for server in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://localhost:1",
            "http://[::1]:8080/",
            "https://jit.example.com",
            "https://jit.example.com/behind/a/path/",
        ] {
            assert!(opened(server).is_ok(), "{server}");
        }
        for server in [
            "http://jit.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[::ffff:10.0.0.1]",
        ] {
            let error = opened(server).unwrap_err();
            assert!(error.contains("https:// only"), "{server}: {error}");
        }
        for server in [
            "",
            "jit.example.com",
            "ftp://localhost",
            "file:///etc/passwd",
            "http://",
        ] {
            assert!(opened(server).is_err(), "{server}");
        }
        for server in [
            "http://a:b@localhost",
            "http://localhost?x=1",
            "http://localhost/#x",
        ] {
            assert!(opened(server).unwrap_err().contains("leave"), "{server}");
        }
    }

    #[test]
    fn a_session_shows_no_token() {
        let session = Session::new("http://localhost", &SecretString::from("jit_x_hidden"));
        assert!(!format!("{session:?}").contains("hidden"));
        let bad = Session::new("http://localhost", &SecretString::from("hidden\n"));
        assert!(!format!("{bad:?}").contains("hidden"));
    }

    #[test]
    fn a_token_file_is_read_without_the_white_space_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "  jit_x_y\n").unwrap();
        assert_eq!(
            Session::token_from(&file).unwrap().expose_secret(),
            "jit_x_y"
        );
        std::fs::write(&file, "\n").unwrap();
        assert!(Session::token_from(&file).is_err());
        // A device never comes to its end, and says that it is empty.
        assert!(Session::token_from(Path::new("/dev/zero")).is_err());
        std::fs::write(&file, "x".repeat(5_000)).unwrap();
        assert!(Session::token_from(&file).is_err());
        assert!(Session::token_from(&folder.path().join("none")).is_err());
    }
}
