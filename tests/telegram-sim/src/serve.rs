//! The door: HTTP on loopback, one answer per call, and what goes wrong on the wire.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State as Shared};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::arguments::Arguments;
use crate::faults::Fault;
use crate::refusal::Refusal;
use crate::state::Call;
use crate::world::World;
use crate::{TOKEN, api, control, updates};

/// The most bytes read of a request.
const MOST_BYTES: usize = 1024 * 1024;

/// An answer that is none: the connection closes instead.
#[derive(Debug, Clone, Copy)]
struct HangUp;

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, world: World) {
    let router = control::router()
        .route("/{bot}/{method}", any(method))
        .fallback(|| async { answer(&Refusal::new(404, "Not Found")) })
        .with_state(world);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(talk(stream, router.clone()));
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
                Some(HangUp) => Err(std::io::Error::other("hung up")),
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

fn answer(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::BAD_REQUEST);
    (status, axum::Json(refusal.body())).into_response()
}

fn answered(done: Result<Value, Refusal>) -> Response {
    match done {
        Ok(result) => axum::Json(json!({"ok": true, "result": result})).into_response(),
        Err(refusal) => answer(&refusal),
    }
}

/// One call of the bot.
async fn method(
    Shared(world): Shared<World>,
    Path((bot, method)): Path<(String, String)>,
    request: Request,
) -> Response {
    let Some(token) = bot.strip_prefix("bot") else {
        return answer(&Refusal::new(404, "Not Found"));
    };
    if token != TOKEN {
        return answer(&Refusal::new(401, "Unauthorized"));
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let content_type = request.headers().get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|it| it.to_str().ok())
        .unwrap_or_default();
    let content_type = content_type.to_owned();
    let Ok(body) = to_bytes(request.into_body(), MOST_BYTES).await else {
        return answer(&Refusal::new(413, "Request Entity Too Large"));
    };
    let arguments = match Arguments::read(&query, &content_type, &body) {
        Ok(arguments) => arguments,
        Err(refusal) => return answer(&refusal),
    };
    let place = world.with(|state| {
        state.calls.push(Call {
            method: method.clone(),
            arguments: arguments.all(),
            status: None,
        });
        state.calls.len() - 1
    });
    let response = worked(&world, &method, &arguments).await;
    world.with(|state| {
        if let Some(call) = state.calls.get_mut(place)
            && response.extensions().get::<HangUp>().is_none()
        {
            call.status = Some(response.status().as_u16());
        }
    });
    response
}

/// Does it, unless or however something is to go wrong with it.
async fn worked(world: &World, method: &str, arguments: &Arguments) -> Response {
    let fault = world.with(|state| state.faults.take(method));
    match fault {
        None => answered(done(world, method, arguments).await),
        Some(Fault::TooMany { retry_after }) => answer(&Refusal::too_many(retry_after)),
        Some(Fault::Refused { code, description }) => answer(&Refusal::new(code, &description)),
        Some(Fault::ServerError) => {
            let page = "<html><head><title>502 Bad Gateway</title></head></html>";
            (StatusCode::BAD_GATEWAY, page).into_response()
        }
        Some(Fault::Garbage) => {
            let _done = done(world, method, arguments).await;
            "{\"ok\": tru".into_response()
        }
        Some(Fault::LostReply) => {
            let _done = done(world, method, arguments).await;
            hang_up()
        }
        Some(Fault::Hang) => {
            let _done = done(world, method, arguments).await;
            std::future::pending().await
        }
        Some(Fault::Slow { ms }) => {
            let done = done(world, method, arguments).await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answered(done)
        }
        Some(Fault::Redirect { to }) => {
            let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
            if let Ok(to) = HeaderValue::from_str(&to) {
                response.headers_mut().insert(LOCATION, to);
            }
            response
        }
    }
}

async fn done(world: &World, method: &str, arguments: &Arguments) -> Result<Value, Refusal> {
    match method {
        "getUpdates" => updates::get(world, arguments).await,
        "setWebhook" | "deleteWebhook" => {
            let done = world.with(|state| match method {
                "setWebhook" => updates::set(state, arguments),
                _ => updates::delete(state, arguments),
            });
            // A poll under way ends now, and what waits is delivered.
            world.stir();
            done
        }
        "getWebhookInfo" => Ok(world.with(|state| updates::info(state))),
        _ => {
            let done = world.with(|state| api::call(state, method, arguments));
            done.unwrap_or_else(|| Err(Refusal::new(404, "Not Found")))
        }
    }
}
