//! Slack's Web API: every call once, with a deadline, and its failure in our words.

use std::time::Duration;

use jit_core::ports::{Effect, ErrorKind, PortError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use slack_morphism::errors::SlackClientError;
use slack_morphism::hyper_tokio::{SlackClientHyperHttpsConnector, SlackHyperClient};
use slack_morphism::{SlackApiToken, SlackApiTokenType, SlackClientHttpConnector};
use tokio::sync::Semaphore;

use crate::ADAPTER;

/// Where Slack's Web API is.
pub const SLACK_API: &str = "https://slack.com/api";
/// Where Slack's response URLs are.
const SLACK_HOOKS: &str = "https://hooks.slack.com/";
/// The longest that a call may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Calls at once, and so connections that are kept.
const CALLS_AT_ONCE: usize = 128;
/// The longest that a call waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// Slack wants to be left alone for this long.
    #[error("Slack is asked too often; it wants a pause")]
    RateLimited(Option<Duration>),
    /// Slack refused, with this code of its own.
    #[error("Slack refuses: {0}")]
    Refused(String),
    /// The app was not given this scope.
    #[error("Slack refuses: missing_scope")]
    MissingScope {
        /// Which, where Slack says so.
        needed: Option<String>,
    },
    /// No answer in time.
    #[error("Slack did not answer in time")]
    TimedOut,
    /// Too many other calls are under way; this one was not sent.
    #[error("too many calls to Slack are under way")]
    Crowded,
    /// An answer that is none: another status, or not JSON.
    #[error("Slack answered with {0}")]
    Broken(&'static str),
    /// The connection failed.
    #[error("Slack cannot be reached")]
    Unreachable,
}

impl WebError {
    /// Slack's own code of a refusal.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(code) => Some(code),
            Self::MissingScope { .. } => Some("missing_scope"),
            Self::RateLimited(_)
            | Self::TimedOut
            | Self::Crowded
            | Self::Broken(_)
            | Self::Unreachable => None,
        }
    }

    /// Whether it was said that the message cannot be changed, so that a new one is needed.
    pub(crate) fn is_message_gone(&self) -> bool {
        matches!(
            self.code(),
            Some("message_not_found" | "cant_update_message" | "edit_window_closed")
        )
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::RateLimited(after) => ErrorKind::RateLimited {
                retry_after_ms: after
                    .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            },
            Self::Refused(code) => match code.as_str() {
                "channel_not_found" | "user_not_found" | "users_not_found" => ErrorKind::NotFound,
                "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
                    ErrorKind::Unavailable
                }
                "invalid_auth" | "not_authed" | "token_revoked" | "token_expired"
                | "account_inactive" | "no_permission" => ErrorKind::Forbidden,
                _ => ErrorKind::Misconfigured,
            },
            Self::MissingScope { .. } => ErrorKind::Forbidden,
            Self::TimedOut | Self::Crowded | Self::Broken(_) | Self::Unreachable => {
                ErrorKind::Unavailable
            }
        }
    }

    /// As the engine knows failures.
    pub(crate) fn into_port(self, operation: &'static str) -> PortError {
        let (kind, effect) = (
            self.kind(),
            match &self {
                Self::Refused(_)
                | Self::MissingScope { .. }
                | Self::RateLimited(_)
                | Self::Crowded => Effect::None,
                Self::TimedOut | Self::Broken(_) | Self::Unreachable => Effect::Unknown,
            },
        );
        let error = match effect {
            Effect::None => PortError::nothing_done(ADAPTER, operation, kind),
            Effect::Unknown => PortError::maybe_done(ADAPTER, operation, kind),
        };
        error.because(self)
    }
}

impl From<SlackClientError> for WebError {
    // The crate's own sentences carry whole answers, which may hold e-mail addresses.
    fn from(error: SlackClientError) -> Self {
        match error {
            SlackClientError::ApiError(error) if error.code == "ratelimited" => {
                Self::RateLimited(None)
            }
            SlackClientError::ApiError(error) if error.code == "missing_scope" => {
                let said: Option<Value> = error
                    .http_response_body
                    .and_then(|body| serde_json::from_str(&body).ok());
                let needed = said.as_ref().and_then(|said| said.get("needed")?.as_str());
                let is_scope =
                    |it: &&str| it.len() <= 100 && it.bytes().all(|byte| byte.is_ascii_graphic());
                Self::MissingScope {
                    needed: needed.filter(is_scope).map(str::to_owned),
                }
            }
            SlackClientError::ApiError(error) => Self::Refused(error.code),
            SlackClientError::RateLimitError(error) => Self::RateLimited(error.retry_after),
            SlackClientError::HttpError(_) => Self::Broken("an HTTP error"),
            SlackClientError::ProtocolError(_) => Self::Broken("what is not JSON"),
            SlackClientError::HttpProtocolError(_)
            | SlackClientError::EndOfStream(_)
            | SlackClientError::SocketModeProtocolError(_)
            | SlackClientError::SystemError(_) => Self::Unreachable,
        }
    }
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum BadWeb {
    /// The certificates of this machine cannot be read.
    #[error("the certificate authorities of this machine cannot be read; install ca-certificates")]
    NoRoots(#[source] std::io::Error),
    /// The address is not one that may be called.
    #[error("{0} is not an address of Slack: write https://…, or http:// on a loopback address")]
    Address(String),
}

/// A client with one token.
pub(crate) struct Web {
    client: SlackHyperClient,
    token: SlackApiToken,
    api: String,
    turns: Semaphore,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web")
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

/// The client that every token shares. Plain HTTP is spoken with loopback addresses alone.
pub(crate) fn client(api: &str) -> Result<SlackHyperClient, BadWeb> {
    let provider = rustls::crypto::ring::default_provider();
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(BadWeb::NoRoots)?;
    let mut sockets = hyper_util::client::legacy::connect::HttpConnector::new();
    sockets.set_nodelay(true);
    sockets.enforce_http(false);
    sockets.set_connect_timeout(Some(DEADLINE));
    let connector = if is_loopback(api) {
        https
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(sockets)
    } else if api.starts_with("https://") {
        https
            .https_only()
            .enable_all_versions()
            .wrap_connector(sockets)
    } else {
        return Err(BadWeb::Address(api.to_owned()));
    };
    let connector = SlackClientHyperHttpsConnector::from(connector).with_slack_api_url(api);
    Ok(SlackHyperClient::new(connector))
}

/// Whether an address is plain HTTP to this machine itself.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

pub(crate) fn token(secret: &SecretString, kind: SlackApiTokenType) -> SlackApiToken {
    SlackApiToken::new(secret.expose_secret().into()).with_token_type(kind)
}

impl Web {
    pub(crate) fn new(client: SlackHyperClient, bot: &SecretString, api: &str) -> Self {
        Self {
            client,
            token: token(bot, SlackApiTokenType::Bot),
            api: api.to_owned(),
            turns: Semaphore::new(CALLS_AT_ONCE),
        }
    }

    /// Makes this call when it is its turn; once, and with a deadline.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, SlackClientError>>,
    ) -> Result<T, WebError> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(WebError::Crowded);
        };
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(answered) => answered.map_err(WebError::from),
            Err(_) => Err(WebError::TimedOut),
        }
    }

    /// Calls a method that takes JSON.
    pub(crate) async fn post(&self, method: &str, body: &Value) -> Result<Value, WebError> {
        let session = self.client.open_session(&self.token);
        let call = session
            .http_session_api
            .http_post::<Value, Value>(method, body, None);
        self.call(call).await.and_then(answered)
    }

    /// Calls a method that takes its arguments in the address.
    pub(crate) async fn get(
        &self,
        method: &str,
        arguments: &[(&str, &str)],
    ) -> Result<Value, WebError> {
        let session = self.client.open_session(&self.token);
        let arguments: Vec<(&str, Option<&str>)> = arguments
            .iter()
            .map(|(name, value)| (*name, Some(*value)))
            .collect();
        let call = session
            .http_session_api
            .http_get::<Value, _, _>(method, &arguments, None);
        self.call(call).await.and_then(answered)
    }

    /// Posts to a response URL, which needs no token and is given none.
    pub(crate) async fn respond(&self, url: &str, body: &Value) -> Result<(), WebError> {
        if !self.may_respond_to(url) {
            return Err(WebError::Refused("foreign_response_url".to_owned()));
        }
        let url = url
            .parse()
            .map_err(|_| WebError::Broken("a bad response URL"))?;
        let span = tracing::Span::none();
        let context = slack_morphism::SlackClientApiCallContext {
            rate_control_params: None,
            token: None,
            tracing_span: &span,
            is_sensitive_url: true,
        };
        let connector = &self.client.http_api.connector;
        let call = connector.http_post_uri::<Value, Value>(url, body, context);
        self.call(call).await.map(drop)
    }

    /// Only Slack's own, or one of the same loopback server as the API.
    fn may_respond_to(&self, url: &str) -> bool {
        if url.starts_with(SLACK_HOOKS) {
            return true;
        }
        let authority = |url: &str| url.split('/').nth(2).map(str::to_owned);
        is_loopback(&self.api) && is_loopback(url) && authority(url) == authority(&self.api)
    }
}

/// Only what says that it is well is. The crate takes a page of HTML with status 200, as a proxy
/// on the way may send it, for an empty answer.
fn answered(said: Value) -> Result<Value, WebError> {
    match said.get("ok") {
        Some(Value::Bool(true)) => Ok(said),
        _ => Err(WebError::Broken("what is no answer of Slack's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_spoken_with_this_machine_alone() {
        for good in [
            "http://127.0.0.1:4803/api",
            "http://localhost/api",
            "http://[::1]:1/api",
        ] {
            assert!(is_loopback(good), "{good}");
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in [
            "http://slack.com/api",
            "http://127.0.0.1.example.com/api",
            "http://127.0.0.1@example.com/api",
            "ftp://127.0.0.1/",
        ] {
            assert!(!is_loopback(bad), "{bad}");
            assert!(client(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_pass_by_itself_is_tried_again_and_what_somebody_must_mend_hardly_ever() {
        let refused = |code: &str| WebError::Refused(code.to_owned());
        for (error, retryable) in [
            (WebError::RateLimited(None), true),
            (WebError::RateLimited(Some(DEADLINE)), true),
            (WebError::TimedOut, true),
            (WebError::Crowded, true),
            (WebError::Unreachable, true),
            (WebError::Broken("an HTTP error"), true),
            (refused("internal_error"), true),
            (refused("fatal_error"), true),
            (refused("service_unavailable"), true),
            (refused("request_timeout"), true),
            (refused("channel_not_found"), false),
            (refused("user_not_found"), false),
            (refused("users_not_found"), false),
            (refused("message_not_found"), false),
            (refused("cant_update_message"), false),
            (refused("is_archived"), false),
            (refused("not_in_channel"), false),
            (refused("invalid_auth"), false),
            (refused("not_authed"), false),
            (refused("token_revoked"), false),
            (refused("token_expired"), false),
            (refused("account_inactive"), false),
            (refused("no_permission"), false),
            (refused("invalid_blocks"), false),
            (refused("msg_too_long"), false),
            (refused("a_code_of_next_year"), false),
            (WebError::MissingScope { needed: None }, false),
        ] {
            assert_eq!(error.kind().is_retryable(), retryable, "{error}");
        }
        let limited = WebError::RateLimited(Some(Duration::from_secs(7))).kind();
        let retry_after_ms = Some(7_000);
        assert_eq!(limited, ErrorKind::RateLimited { retry_after_ms });
    }

    #[test]
    fn answers_go_to_slack_alone() {
        let secret = SecretString::from("xoxb-test".to_owned());
        let at = |api: &str| Web::new(client(api).unwrap(), &secret, api);
        let real = at(SLACK_API);
        assert!(real.may_respond_to("https://hooks.slack.com/actions/T1/2/x"));
        for foreign in [
            "https://hooks.slack.com.example.com/x",
            "http://hooks.slack.com/x",
            "http://127.0.0.1:1/x",
            "https://example.com/",
        ] {
            assert!(!real.may_respond_to(foreign), "{foreign}");
        }
        let local = at("http://127.0.0.1:4803/api");
        assert!(local.may_respond_to("http://127.0.0.1:4803/response/1"));
        assert!(!local.may_respond_to("http://127.0.0.1:4804/response/1"));
    }
}
