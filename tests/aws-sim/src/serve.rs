//! The door: HTTP on loopback, one answer per call, and what goes wrong on the wire.

use std::convert::Infallible;
use std::io;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State as Shared;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::api::{self, Service, Target};
use crate::clock::{http_date, micros};
use crate::control;
use crate::document::Question;
use crate::error::AwsError;
use crate::hostile::{Away, Hostility, Stage};
use crate::setup::AccessKey;
use crate::sigv4::{Signed, claimed_key, verify};
use crate::state::{Call, Caller, State};
use crate::world::World;

/// The most bytes read of a request.
const MOST_BYTES: usize = 1024 * 1024;

/// An answer that is none: the connection closes instead.
#[derive(Debug, Clone, Copy)]
struct HangUp;

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, world: World) {
    let router = control::router().fallback(any(answer)).with_state(world);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(talk(stream, router.clone()));
    }
}

/// One connection. A service that fails makes hyper close it without a word.
async fn talk(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
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
    Json(u16, Value),
    Xml(u16, String),
    Garbage(Service),
    HangUp,
    Hang,
}

async fn answer(Shared(world): Shared<World>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BYTES).await else {
        return hang_up();
    };
    let mut calmed = world.calmed();
    let (verdict, request_id, now) = world.with(|state| {
        let request_id = state.draw_answer_id();
        (
            judge(state, &parts, &body, &request_id),
            request_id,
            state.moment,
        )
    });
    let (json, xml) = ("application/x-amz-json-1.1", "text/xml");
    let (status, kind, text) = match verdict {
        Verdict::Json(status, value) => (status, json, value.to_string()),
        Verdict::Xml(status, text) => (status, xml, text),
        Verdict::Garbage(service) if service.speaks_query() => {
            (200, xml, "<GetRoleResponse><html".to_owned())
        }
        Verdict::Garbage(_) => (200, json, "{\"AccountAssignment\": <html>".to_owned()),
        Verdict::HangUp => return hang_up(),
        Verdict::Hang => {
            // It ends when it is calm, or with the simulator.
            let _ = calmed.changed().await;
            return hang_up();
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        (header::CONTENT_TYPE.as_str(), kind.to_owned()),
        (header::DATE.as_str(), http_date(now)),
        ("x-amzn-requestid", request_id),
    ];
    (status, headers, text).into_response()
}

/// Lets a call in, records it, and does it or not.
fn judge(state: &mut State, parts: &Parts, body: &Bytes, request_id: &str) -> Verdict {
    let raw = String::from_utf8_lossy(body).into_owned();
    let named = text(&parts.headers, "x-amz-target");
    let target = match named.as_str() {
        "" => Target::of_form(&raw),
        named => Target::parse(named),
    };
    let service = target.map(|it| it.service);
    match state.away {
        Some(Away::Refused) => return Verdict::HangUp,
        Some(Away::Unavailable) => return refused(&AwsError::unavailable(), service, request_id),
        None => {}
    }
    let Some(target) = target else {
        let unknown = AwsError::front("UnknownOperationException", "");
        return refused(&unknown, None, request_id);
    };
    let call = state.calls.len();
    let asked = match target.service.speaks_query() {
        true => Value::Object(api::query::read(&raw)),
        false => serde_json::from_str(&raw).unwrap_or(Value::Null),
    };
    state.calls.push(Call {
        at_micros: state.moment,
        access_key: claimed_key(&parts.headers),
        action: target.action(),
        body: asked,
        request_id: request_id.to_owned(),
        outcome: "ok".to_owned(),
    });
    let signed = Signed {
        method: &parts.method,
        uri: &parts.uri,
        headers: &parts.headers,
        body,
        service: target.service.signing_name(),
    };
    let allowed = verify(state, &signed).and_then(|key| allow(state, &key, target));
    let (verdict, outcome) = match allowed {
        Ok(caller) => {
            state.caller = caller;
            treat(state, target, &raw, request_id)
        }
        Err(error) => (
            refused(&error, Some(target.service), request_id),
            error.code.to_owned(),
        ),
    };
    if let Some(call) = state.calls.get_mut(call) {
        call.outcome = outcome;
    }
    verdict
}

/// What IAM says: who it is, if they may.
fn allow(state: &State, key: &AccessKey, target: Target) -> Result<Caller, AwsError> {
    let action = target.action();
    let account = &state.setup.management_account;
    let session = state.identities.sessions.get(&key.id);
    let caller = match session {
        Some(session) => Caller {
            arn: format!(
                "arn:aws:sts::{account}:assumed-role/{}/{}",
                session.role, session.name
            ),
            user_id: session.assumed_role_id.clone(),
            is_session: true,
        },
        None => Caller {
            arn: format!("arn:aws:iam::{account}:user/{}", key.id),
            user_id: key.id.clone(),
            is_session: key.session_token.is_some(),
        },
    };
    // Whoever is somebody may ask who they are ("GetCallerIdentity", STS API Reference).
    if action == "sts:GetCallerIdentity" {
        return Ok(caller);
    }
    let by_policy = session.is_none_or(|session| {
        let question = Question {
            action: &action,
            resource: "*",
            context: Default::default(),
            at: state.moment,
        };
        state.session_allows(session, question)
    });
    if by_policy && key.allowed.as_ref().is_none_or(|it| it.contains(&action)) {
        return Ok(caller);
    }
    Err(AwsError::denied(format!(
        "User: {} is not authorized to perform: {action} because no identity-based policy allows \
         the {action} action",
        caller.arn
    )))
}

/// Does a call that was let in, unless something goes wrong with it.
fn treat(state: &mut State, target: Target, raw: &str, request_id: &str) -> (Verdict, String) {
    let service = target.service;
    let fail = |error: &AwsError| {
        let verdict = refused(error, Some(service), request_id);
        (verdict, error.code.to_owned())
    };
    let wrong = |verdict, what: &str| (verdict, what.to_owned());
    let Some(hostility) = state.hostility(Stage::Door, target.operation, raw) else {
        return match api::run(state, target, raw) {
            Ok(answer) => wrong(done(state, target, answer, request_id), "ok"),
            Err(error) => fail(&error),
        };
    };
    match hostility {
        Hostility::Throttle => fail(&AwsError::throttled(service)),
        Hostility::Conflict => fail(&AwsError::conflict(service)),
        Hostility::InternalError => fail(&AwsError::internal(service)),
        Hostility::InternalErrorAfter => {
            execute(state, target, raw);
            fail(&AwsError::internal(service))
        }
        Hostility::Unavailable => fail(&AwsError::unavailable()),
        Hostility::Hang => wrong(Verdict::Hang, "hangs"),
        Hostility::Garbage => {
            execute(state, target, raw);
            wrong(Verdict::Garbage(service), "garbage")
        }
        Hostility::LoseCall => wrong(Verdict::HangUp, "lost call"),
        Hostility::LoseReply => {
            execute(state, target, raw);
            wrong(Verdict::HangUp, "lost reply")
        }
        Hostility::LateEffect(after) => {
            let at = state.moment.saturating_add(micros(after));
            state.plan_late(at, target, raw.to_owned());
            wrong(Verdict::HangUp, "late")
        }
        // These are of other stages and never come to the door.
        Hostility::Fail(_)
        | Hostility::ApplyAfter(_)
        | Hostility::Freeze
        | Hostility::StatusAfter(_)
        | Hostility::Stale(_)
        | Hostility::EmptyPage => fail(&AwsError::internal(service)),
    }
}

/// Does a call whose answer nobody will read.
fn execute(state: &mut State, target: Target, raw: &str) {
    let _ = api::run(state, target, raw);
    state.settle();
}

/// An answer; what takes effect at once has done so before it is read.
fn done(state: &mut State, target: Target, answer: Value, request_id: &str) -> Verdict {
    state.settle();
    match target.service.speaks_query() {
        true => Verdict::Xml(200, api::query::answer(target, &answer, request_id)),
        false => Verdict::Json(200, answer),
    }
}

fn refused(error: &AwsError, service: Option<Service>, request_id: &str) -> Verdict {
    match service.filter(|it| it.speaks_query()) {
        Some(service) => {
            let (status, text) = api::query::refusal(error, service, request_id);
            Verdict::Xml(status, text)
        }
        None => Verdict::Json(error.status, error.body(service)),
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
