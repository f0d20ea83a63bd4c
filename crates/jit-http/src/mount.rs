//! Another service on the listener of the API, behind its tokens: the caller is told here, and what the
//! service answers is left as it is.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use jit_core::principal::{Door, Principal};

use crate::ApiState;
use crate::edge::{AsItIs, edge};
use crate::error::ApiError;
use crate::extract::{BODY_LIMIT, Caller};

/// What of the bearer tokens of the API, and through which door, a service is to know.
#[derive(Debug, Clone)]
struct Mounted {
    state: ApiState,
    door: Door,
}

/// These routes behind the bearer tokens of the API, as one more door. Whoever calls without a valid
/// one is answered 401; with one, the [`Principal`] is in the extensions of the request, and the token
/// is not passed on.
pub fn behind_tokens(state: ApiState, door: Door, routes: Router) -> Router {
    let mounted = Mounted {
        state: state.clone(),
        door,
    };
    routes
        .layer(from_fn_with_state(mounted, told))
        .layer(from_fn_with_state(state, edge))
}

async fn told(
    State(mounted): State<Mounted>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let caller = match Caller::from_request_parts(&mut parts, &mounted.state).await {
        Ok(caller) => caller,
        Err(error) => {
            // A connection with half a call in it is closed, under the next call of its client.
            let _rest = to_bytes(body, BODY_LIMIT).await;
            return Err(error);
        }
    };
    parts.headers.remove(header::AUTHORIZATION);
    parts.extensions.insert(Principal {
        door: mounted.door,
        ..caller.via
    });
    let mut response = next.run(Request::from_parts(parts, body)).await;
    response.extensions_mut().insert(AsItIs);
    Ok(response)
}
