//! The door: HTTP on loopback, one answer per call, and what goes wrong on the wire.

use std::convert::Infallible;
use std::io;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::api::{self, Access, Reply, Request};
use crate::clock::{http_date, micros, seconds};
use crate::control;
use crate::error::{Fault, Refusal};
use crate::hostile::{Away, Hostility, Reset, Stage};
use crate::limits::{Family, Standing};
use crate::state::{Call, State};
use crate::world::World;

/// The most bytes read of a request.
const MOST_BYTES: usize = 1024 * 1024;

/// When a call over the limit on concurrent ones should be tried again: an estimate, says Okta.
const CONCURRENT_RESET: i64 = 60_000_000;

/// An answer that is none: the connection closes instead.
#[derive(Debug, Clone, Copy)]
struct HangUp;

/// Which connection a request came on, and when it was opened.
#[derive(Debug, Clone, Copy)]
struct Connection {
    number: u64,
    opened_at: i64,
}

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
        let connection = Connection {
            number: connections,
            opened_at: world.with(|state| state.moment),
        };
        let router = router.clone().layer(Extension(connection));
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
    Answer(Box<Answer>),
    HangUp,
    Hang,
}

/// An answer but for what every answer has.
struct Answer {
    status: u16,
    body: Body,
    headers: Vec<(&'static str, String)>,
}

/// Counts a call as unanswered while it lives.
struct InFlight(World);

impl InFlight {
    fn begin(world: &World) -> Self {
        world.with(|state| state.in_flight += 1);
        Self(world.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.with(|state| state.in_flight -= 1);
    }
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
    let _in_flight = InFlight::begin(&world);
    let latency = world.with(|state| state.setup.latency);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let mut calmed = world.calmed();
    let (verdict, request_id, now) = world.with(|state| {
        let request = read(state, &parts, &String::from_utf8_lossy(&body));
        let verdict = judge(state, &request, connection);
        (verdict, request.id, state.moment)
    });
    match verdict {
        Verdict::Answer(answer) => respond(*answer, &request_id, now),
        Verdict::HangUp => hang_up(),
        Verdict::Hang => {
            // It ends when it is calm, or with the simulator.
            let _ = calmed.changed().await;
            hang_up()
        }
    }
}

fn respond(answer: Answer, request_id: &str, now: i64) -> Response {
    let mut response = Response::new(answer.body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let shared = [
        ("date", http_date(now)),
        ("x-okta-request-id", request_id.to_owned()),
        ("cache-control", "no-cache, no-store".to_owned()),
    ];
    for (name, value) in shared.into_iter().chain(answer.headers) {
        let name = HeaderName::from_static(name);
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn read(state: &mut State, parts: &Parts, body: &str) -> Request {
    let query = parts.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes());
    Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: query
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        target: parts
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        body: body.to_owned(),
        authorization: text(&parts.headers, header::AUTHORIZATION),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        id: state.draw_answer_id(),
    }
}

/// Lets a call in, records it, and does it or not.
fn judge(state: &mut State, request: &Request, connection: Connection) -> Verdict {
    match state.away {
        Some(Away::Refused) => return Verdict::HangUp,
        Some(Away::Unavailable) => {
            return refused(&request.fault(Fault::Unavailable), request, Vec::new());
        }
        None => {}
    }
    let at = state.calls.len();
    state.calls.push(Call {
        at_micros: state.moment,
        method: request.method.clone(),
        path: request.target.clone(),
        operation: request.operation(),
        token: None,
        connection: connection.number,
        connected_at_micros: connection.opened_at,
        status: None,
        request_id: request.id.clone(),
        outcome: "ok".to_owned(),
    });
    state.interfere(Stage::Before, request);
    let (verdict, outcome, token) = limited(state, request);
    let status = match &verdict {
        Verdict::Answer(answer) => Some(answer.status),
        Verdict::HangUp | Verdict::Hang => None,
    };
    if let Some(call) = state.calls.get_mut(at) {
        (call.status, call.outcome, call.token) = (status, outcome, token);
    }
    state.interfere(Stage::Then, request);
    verdict
}

type Judged = (Verdict, String, Option<String>);

/// Whether there is room for a call, and then what becomes of it.
fn limited(state: &mut State, request: &Request) -> Judged {
    let too_many = request.fault(Fault::Throttled);
    let name = too_many.name();
    if request.is_oktas() && state.in_flight > state.setup.concurrent_max {
        let headers = concurrent(state.moment);
        return (refused(&too_many, request, headers), name, None);
    }
    let family = request.family();
    let standing = family.map(|it| state.buckets.take(it, &state.setup, state.moment));
    let headers = standing.map(|it| of_standing(it, family, state.moment));
    let headers = headers.unwrap_or_default();
    if standing.is_some_and(|it| it.is_over) {
        return (refused(&too_many, request, headers), name, None);
    }
    match api::admit(state, request) {
        Ok(access) => {
            let token = access.as_ref().map(|it| it.token.clone());
            let access = access.unwrap_or(Access {
                token: String::new(),
                scopes: Default::default(),
            });
            let (verdict, outcome) = treat(state, request, access, headers);
            (verdict, outcome, token)
        }
        Err(refusal) => (refused(&refusal, request, headers), refusal.name(), None),
    }
}

type Headers = Vec<(&'static str, String)>;

/// How a bucket stands: Okta says at which second it is full again, PagerDuty in how many.
fn of_standing(standing: Standing, family: Option<Family>, now: i64) -> Headers {
    // A reset that was rounded down would be too soon.
    let reset = standing.reset.saturating_add(999_999);
    if family == Some(Family::PagerDuty) {
        return vec![
            ("ratelimit-limit", standing.limit.to_string()),
            ("ratelimit-remaining", standing.remaining.to_string()),
            (
                "ratelimit-reset",
                seconds(reset.saturating_sub(now)).to_string(),
            ),
        ];
    }
    let reset = seconds(reset);
    vec![
        ("x-rate-limit-limit", standing.limit.to_string()),
        ("x-rate-limit-remaining", standing.remaining.to_string()),
        ("x-rate-limit-reset", reset.to_string()),
    ]
}

/// What the headers say of the limit on concurrent calls: two zeroes and an estimate.
fn concurrent(now: i64) -> Headers {
    let reset = seconds(now.saturating_add(CONCURRENT_RESET));
    vec![
        ("x-rate-limit-limit", "0".to_owned()),
        ("x-rate-limit-remaining", "0".to_owned()),
        ("x-rate-limit-reset", reset.to_string()),
    ]
}

/// The same headers, of a bucket that is empty until whatever it is made to say.
fn throttled(request: &Request, mut headers: Headers, reset: Reset, now: i64) -> Headers {
    let (remaining, when, from) = if request.is_oktas() {
        ("x-rate-limit-remaining", "x-rate-limit-reset", 0)
    } else {
        ("ratelimit-remaining", "ratelimit-reset", now)
    };
    headers.retain(|(name, _)| *name != remaining && *name != when);
    headers.push((remaining, "0".to_owned()));
    let at = |at: i64| seconds(at.saturating_sub(from)).to_string();
    let reset = match reset {
        Reset::In(time) => Some(at(now.saturating_add(micros(time)))),
        Reset::Ago(time) => Some(at(now.saturating_sub(micros(time)))),
        Reset::Missing => None,
        Reset::Garbage => Some("soon".to_owned()),
    };
    headers.extend(reset.map(|it| (when, it)));
    headers
}

/// Does a call that was let in, unless something goes wrong with it.
fn treat(
    state: &mut State,
    request: &Request,
    access: Access,
    headers: Headers,
) -> (Verdict, String) {
    let fail =
        |refusal: &Refusal, headers: Headers| (refused(refusal, request, headers), refusal.name());
    let broken = |fault: Fault, headers: Headers| fail(&request.fault(fault), headers);
    let wrong = |verdict, what: &str| (verdict, what.to_owned());
    let Some(hostility) = state.hostility(Stage::Door, request) else {
        return match api::run(state, request, &access) {
            Ok(reply) => wrong(done(reply, headers), "ok"),
            Err(refusal) => fail(&refusal, headers),
        };
    };
    let mut execute = || {
        let _ = api::run(state, request, &access);
    };
    match hostility {
        Hostility::Throttle(reset) => {
            let headers = throttled(request, headers, reset, state.moment);
            broken(Fault::Throttled, headers)
        }
        Hostility::Concurrent => broken(Fault::Throttled, concurrent(state.moment)),
        Hostility::InternalError => broken(Fault::Internal, headers),
        Hostility::InternalErrorAfter => {
            execute();
            broken(Fault::Internal, headers)
        }
        Hostility::Unavailable => broken(Fault::Unavailable, headers),
        Hostility::Hang => wrong(Verdict::Hang, "hangs"),
        Hostility::HangAfter => {
            execute();
            wrong(Verdict::Hang, "hangs after it was done")
        }
        Hostility::Garbage => {
            execute();
            let garbage = answered(200, Body::from("[{\"id\": <html>"), headers);
            wrong(garbage, "garbage")
        }
        Hostility::LoseCall => wrong(Verdict::HangUp, "lost call"),
        Hostility::LoseReply => {
            execute();
            wrong(Verdict::HangUp, "lost reply")
        }
        Hostility::LateEffect(after) => {
            let at = state.moment.saturating_add(micros(after));
            state.plan_late(at, request.clone(), access);
            wrong(Verdict::HangUp, "late")
        }
        Hostility::Redirect(to) => {
            let mut headers = headers;
            headers.push(("location", to));
            wrong(answered(302, Body::empty(), headers), "redirect")
        }
        // These are of other stages and never come to the door.
        Hostility::Stale(_)
        | Hostility::RepeatPage
        | Hostility::EndlessPages
        | Hostility::EmptyPage
        | Hostility::NextElsewhere(_)
        | Hostility::Before(_)
        | Hostility::Then(_) => broken(Fault::Internal, headers),
    }
}

fn done(reply: Reply, mut headers: Headers) -> Verdict {
    headers.extend(reply.links.into_iter().map(|it| ("link", it)));
    match reply.body {
        Some(body) => said(reply.status, &body, headers),
        None => answered(reply.status, Body::empty(), headers),
    }
}

fn refused(refusal: &Refusal, request: &Request, mut headers: Headers) -> Verdict {
    headers.extend(refusal.challenge().map(|it| ("www-authenticate", it)));
    said(refusal.status(), &refusal.body(&request.id), headers)
}

/// An answer in JSON.
fn said(status: u16, body: &Value, mut headers: Headers) -> Verdict {
    headers.push(("content-type", "application/json".to_owned()));
    answered(status, Body::from(body.to_string()), headers)
}

fn answered(status: u16, body: Body, headers: Headers) -> Verdict {
    Verdict::Answer(Box::new(Answer {
        status,
        body,
        headers,
    }))
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    headers
        .get(name)
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
