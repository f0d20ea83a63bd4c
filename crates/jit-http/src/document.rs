//! The OpenAPI document, generated from the handlers and the view types.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::error::ErrorBody;
use crate::{api, observe, requests};

/// The document as JSON.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    openapi()
        .to_pretty_json()
        .expect("the document is made of strings, numbers and lists, so it serialises")
});

/// The document.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", security(()), responses(
    (status = 200, description = "The OpenAPI document.", content_type = "application/json"),
))]
pub(crate) async fn openapi_json() -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, DOCUMENT.as_str())
}

/// How a call may go wrong, whatever it is.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "only its description is used")]
pub(crate) enum Failures {
    /// The body is not JSON at all.
    #[response(status = 400)]
    Unreadable(ErrorBody),
    /// The bearer token is missing, wrong, expired or revoked.
    #[response(status = 401)]
    NotAuthenticated(ErrorBody),
    /// The caller lacks a right.
    #[response(status = 403)]
    NotAllowed(ErrorBody),
    /// There is no such request, or the caller may not see it.
    #[response(status = 404)]
    Unknown(ErrorBody),
    /// It does not fit how far the request is.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// The body is longer than 64 KiB.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The body is not sent as JSON.
    #[response(status = 415)]
    NotJson(ErrorBody),
    /// A value is not allowed.
    #[response(status = 422)]
    BadValue(ErrorBody),
    /// A quota is used up.
    #[response(status = 429)]
    QuotaUsed(ErrorBody),
    /// Something failed that trying again does not mend.
    #[response(status = 500)]
    Failed(ErrorBody),
    /// Something failed for now, or new access is paused.
    #[response(status = 503)]
    Unavailable(ErrorBody),
    /// It took too long and may have been done.
    #[response(status = 504)]
    TooSlow(ErrorBody),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "JIT Access",
        description = "Access that is asked for, approved by somebody else, and taken away by the clock.\n\n\
            A path that is not here is answered 404, and a method that a path does not take 405, in the \
            one shape of errors. What is no HTTP, and a head that is too long, is answered 400, 414 or \
            431 without a body.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        observe::health,
        openapi_json,
        api::me,
        api::entitlements,
        api::explain,
        requests::create,
        requests::list,
        requests::show,
        requests::events,
        requests::background,
        requests::decide,
        requests::retract,
        requests::withdraw,
        requests::end,
        requests::revoke,
        requests::collect,
        api::pause,
        api::resume,
        api::paused,
        api::drift,
    ),
    security(("bearer" = [])),
    modifiers(&BearerTokens)
)]
struct Document;

struct BearerTokens;

impl Modify for BearerTokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", scheme);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

    fn documented() -> serde_json::Value {
        serde_json::from_str(&DOCUMENT).unwrap()
    }

    #[test]
    fn the_document_is_the_one_that_was_reviewed() {
        insta::assert_snapshot!("openapi", DOCUMENT.as_str());
    }

    /// The paths are compared here; that each answers to exactly its documented methods is shown
    /// by calling it, in the tests of the router.
    #[test]
    fn every_route_is_documented_and_every_documented_path_is_a_route() {
        let routes: BTreeSet<String> = api::routes()
            .iter()
            .map(|route| route.path.to_owned())
            .collect();
        let document = documented();
        let paths = document["paths"].as_object().unwrap();
        let documented: BTreeSet<String> = paths.keys().cloned().collect();
        assert_eq!(routes, documented);
        let operations = paths
            .values()
            .flat_map(|path| path.as_object().unwrap().keys());
        let operations = operations.filter(|key| METHODS.contains(&key.as_str()));
        assert_eq!(operations.count(), api::routes().len());
    }

    #[test]
    fn every_call_with_a_token_documents_every_failure_in_the_one_shape() {
        let document = documented();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if !path.starts_with("/v1/") || !METHODS.contains(&method.as_str()) {
                    continue;
                }
                for status in [
                    "400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503",
                    "504",
                ] {
                    let response = &operation["responses"][status];
                    let schema = &response["content"]["application/json"]["schema"]["$ref"];
                    assert_eq!(
                        schema, "#/components/schemas/ErrorBody",
                        "{method} {path} {status}"
                    );
                }
            }
        }
    }
}
