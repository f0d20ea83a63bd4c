//! The door: HTTP on loopback, one answer per call, and what goes wrong on the wire.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::api::{self, Reply, Request, Verb};
use crate::control;
use crate::fault::{self, Fault};
use crate::state::{Call, State};
use crate::world::World;

/// The most bytes read of a request; Vault's own limit is 32 MiB.
const MOST_BYTES: usize = 1024 * 1024;

/// An answer that is none: the connection closes instead.
#[derive(Debug, Clone, Copy)]
struct HangUp;

/// Which connection a request came on.
#[derive(Debug, Clone, Copy)]
struct Connection(u64);

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, world: World) {
    let router = control::router()
        .fallback(any(answer))
        .with_state(world.clone());
    let mut connections = 0;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        connections += 1;
        let router = router.clone().layer(Extension(Connection(connections)));
        tokio::spawn(talk(stream, router));
    }
}

/// One connection. A service that fails makes hyper close it without a word.
async fn talk(stream: TcpStream, router: Router) {
    // An answer in two pieces must not wait for the peer's acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request: axum::http::Request<Incoming>| {
        let answer = service.call(request);
        async move {
            let response = answer
                .await
                .unwrap_or_else(|never: Infallible| match never {});
            match response.extensions().get::<HangUp>() {
                Some(HangUp) => Err(io::Error::other("hung up")),
                None => Ok(response),
            }
        }
    });
    // How a connection ends is the client's to judge.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn hang_up() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(HangUp);
    response
}

/// What is to be done about a call, decided in one look at the world.
enum Verdict {
    Answer(Reply),
    Text(String),
    Elsewhere(String),
    After(Duration, Reply),
    Held(Reply),
    HangUp,
    Hang,
}

async fn answer(
    Shared(world): Shared<World>,
    Extension(connection): Extension<Connection>,
    request: axum::http::Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BYTES).await else {
        return hang_up();
    };
    let mut calmed = world.calmed();
    let mut released = world.released();
    let Some(request) = read(&parts, &body) else {
        return respond(&Reply::error(400, "failed to parse JSON input"));
    };
    match world.with(|state| judge(state, &request, connection)) {
        Verdict::Answer(reply) => respond(&reply),
        Verdict::Text(text) => plain(StatusCode::OK, text),
        Verdict::Elsewhere(url) => {
            let mut response = plain(StatusCode::FOUND, String::new());
            if let Ok(url) = url.parse() {
                response.headers_mut().insert(header::LOCATION, url);
            }
            response
        }
        Verdict::After(time, reply) => {
            tokio::time::sleep(time).await;
            respond(&reply)
        }
        Verdict::Held(reply) => {
            world.hold();
            let _ = released.changed().await;
            respond(&reply)
        }
        Verdict::HangUp => hang_up(),
        Verdict::Hang => {
            world.hold();
            // It ends when it is calm, or with the simulator.
            let _ = calmed.changed().await;
            hang_up()
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

fn respond(reply: &Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = match &reply.body {
        Some(body) => body.to_string(),
        None => String::new(),
    };
    let mut response = plain(status, text);
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    if reply.body.is_some() {
        let json = header::HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
    }
    if let Some(secs) = reply.retry_after {
        headers.insert(header::RETRY_AFTER, secs.into());
    }
    response
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn read(parts: &Parts, body: &[u8]) -> Option<Request> {
    let body = match body {
        [] => Value::Null,
        text => serde_json::from_slice(text).ok()?,
    };
    let query = parts.uri.query().unwrap_or_default();
    let bearer = text(&parts.headers, "authorization");
    let bearer = bearer.and_then(|it| it.strip_prefix("Bearer ").map(str::to_owned));
    let wrap_ttl = text(&parts.headers, "x-vault-wrap-ttl");
    Some(Request {
        verb: match parts.method.as_str() {
            "GET" if query.contains("list=true") => Verb::List,
            "GET" | "HEAD" => Verb::Read,
            "LIST" => Verb::List,
            "DELETE" => Verb::Delete,
            _ => Verb::Write,
        },
        method: parts.method.to_string(),
        path: parts.uri.path().strip_prefix("/v1/")?.to_owned(),
        query: query.to_owned(),
        body,
        token: text(&parts.headers, "x-vault-token").or(bearer),
        namespace: text(&parts.headers, "x-vault-namespace"),
        marked: text(&parts.headers, "x-vault-request").as_deref() == Some("true"),
        wrap_ttl: wrap_ttl.and_then(|it| api::seconds(&Value::String(it))),
    })
}

/// Records a call, and does it or not.
fn judge(state: &mut State, request: &Request, connection: Connection) -> Verdict {
    let at = state.calls.len();
    let token = request.token.as_ref().and_then(|it| state.tokens.get(it));
    let call = Call {
        at_micros: state.now(),
        method: request.method.clone(),
        path: request.path.clone(),
        accessor: token.map(|it| it.accessor.clone()),
        namespace: request.namespace.clone(),
        marked: request.marked,
        wrap_ttl_secs: request.wrap_ttl,
        connection: connection.0,
        status: None,
        body: request.harmless_body(),
    };
    state.calls.push(call);
    let fault = fault::met(&mut state.rules, &request.path);
    let verdict = treated(state, request, fault);
    let status = match &verdict {
        Verdict::Answer(reply) | Verdict::After(_, reply) | Verdict::Held(reply) => {
            Some(reply.status)
        }
        Verdict::Text(_) => Some(200),
        Verdict::Elsewhere(_) => Some(302),
        Verdict::HangUp | Verdict::Hang => None,
    };
    if let Some(call) = state.calls.get_mut(at) {
        call.status = status;
    }
    verdict
}

fn treated(state: &mut State, request: &Request, fault: Option<Fault>) -> Verdict {
    let Some(fault) = fault else {
        return Verdict::Answer(api::answer(state, request));
    };
    match fault {
        Fault::Status(status) => Verdict::Answer(Reply::error(status, "simulated")),
        Fault::StatusAfter(status) => {
            api::answer(state, request);
            Verdict::Answer(Reply::error(status, "simulated"))
        }
        Fault::TooMany(retry_after) => Verdict::Answer(Reply {
            retry_after,
            ..Reply::error(429, "request path rate limit quota exceeded")
        }),
        Fault::Denied => Verdict::Answer(Reply::denied()),
        Fault::InvalidToken => Verdict::Answer(Reply::invalid_token()),
        Fault::Garbage => {
            api::answer(state, request);
            Verdict::Text("<html>not what was asked for</html>".to_owned())
        }
        Fault::Instead(text) => {
            api::answer(state, request);
            Verdict::Text(text)
        }
        Fault::Hang => Verdict::Hang,
        Fault::Hold => Verdict::Held(api::answer(state, request)),
        Fault::LoseCall => Verdict::HangUp,
        Fault::LoseReply => {
            api::answer(state, request);
            Verdict::HangUp
        }
        Fault::Slow(time) => Verdict::After(time, api::answer(state, request)),
        Fault::Redirect(url) => Verdict::Elsewhere(url),
        Fault::DelayAndLoseReply(time) => {
            state.clock.pass(time);
            state.settle();
            api::answer(state, request);
            Verdict::HangUp
        }
        Fault::Delay(time) => {
            state.clock.pass(time);
            state.settle();
            Verdict::Answer(api::answer(state, request))
        }
    }
}
