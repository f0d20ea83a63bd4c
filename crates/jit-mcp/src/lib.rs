//! Four tools for AI agents, over the Model Context Protocol: ask for access to a tool, decide on such
//! a request, see how far one is, list those that are open. It turns calls into commands on the
//! engine and decides nothing.
//!
//! [`routes`] answer over streamable HTTP and keep no session: every call carries its own token, so
//! there is none to be taken over, and any process answers any call. Whoever mounts it authenticates
//! the caller and puts the [`Principal`](jit_core::principal::Principal) into the extensions of the
//! HTTP request; a call without one is refused. [`relay`](relay::relay) offers the same tools over
//! standard input and output, by calling those routes.

#![warn(missing_docs)]

mod answer;
mod arguments;
mod door;
pub mod relay;
mod tools;
mod view;
mod waits;

use std::sync::Arc;

use axum::Router;
use jit_core::engine::Engine;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tools::Tools;

/// Where the service is mounted.
pub const PATH: &str = "/mcp";
/// The longest message that is read, in bytes: parameters have 4 KiB, and a reason 4.
pub const MESSAGE_LIMIT: usize = 64 * 1_024;

/// Whom the service answers. A page of a browser can send calls to whatever the browser reaches, and
/// by a name of its own choosing (DNS rebinding): what comes under a name, or from a page, that is not
/// listed here does nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The names under which it is called, as `Host` has them, with or without a port; those of this
    /// machine itself always count.
    pub hosts: Vec<String>,
    /// The origins whose pages may call it, as in `https://console.example.com:443`; none by default.
    pub origins: Vec<String>,
    /// Which decisions are taken.
    pub decisions: Decisions,
}

/// Which decisions are taken by a tool. Whoever decides through a model is shown what another model
/// wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Decisions {
    /// By the id of a request, whose content never changes.
    #[default]
    Any,
    /// Only with the digest of what was shown.
    OfWhatWasShown,
    /// None: people decide in a chat or at a terminal.
    Elsewhere,
}

/// What answers calls over HTTP.
type McpService = StreamableHttpService<Tools, NeverSessionManager>;

/// The tools of this engine at [`PATH`].
pub fn routes(engine: Arc<Engine>, settings: &Settings) -> Router {
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(MESSAGE_LIMIT)
        .with_allowed_hosts(own.into_iter().chain(settings.hosts.clone()))
        .with_allowed_origins(settings.origins.clone())
        .enforce_origin_validation();
    let tools = Tools::new(engine, settings.decisions);
    let service = StreamableHttpService::new(move || Ok(tools.clone()), Arc::default(), config);
    door::routes(service)
}
