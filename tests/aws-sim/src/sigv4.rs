//! Who calls: Signature Version 4, verified as AWS's front does it.

use axum::http::{HeaderMap, Method, Uri};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::clock::{basic, parse_basic};
use crate::error::AwsError;
use crate::setup::{AccessKey, Signatures};
use crate::state::State;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far a signature's date may be from the service's.
const SKEW_MAX: i64 = 5 * 60 * 1_000_000;

/// What is signed.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// What the service is called in signatures.
    pub(crate) service: &'static str,
}

/// What an `Authorization` header says.
#[derive(Debug)]
struct Authorization {
    key: String,
    date: String,
    region: String,
    service: String,
    signed_headers: String,
    signature: String,
}

/// The access key that a request names, for the record; it proves nothing.
pub(crate) fn claimed_key(headers: &HeaderMap) -> String {
    authorization(headers).map_or_else(String::new, |it| it.key)
}

/// The key that signed a request, or why it is not let in.
pub(crate) fn verify(state: &State, signed: &Signed<'_>) -> Result<AccessKey, AwsError> {
    let given = header(signed.headers, "authorization");
    if !given.starts_with(ALGORITHM) {
        return Err(AwsError::front(
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ));
    }
    let Some(authorization) = authorization(signed.headers) else {
        return Err(AwsError::front(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential' parameter. Authorization header requires \
             'Signature' parameter. Authorization header requires 'SignedHeaders' parameter.",
        ));
    };
    let key = state.keys.get(&authorization.key).cloned();
    if state.setup.signatures == Signatures::Unchecked {
        return Ok(key.unwrap_or_else(|| AccessKey::new(&authorization.key, "")));
    }
    let Some(key) = key else {
        return Err(unrecognized());
    };
    check_token(state, &key, &header(signed.headers, "x-amz-security-token"))?;
    let at = header(signed.headers, "x-amz-date");
    check_date(state, &at)?;
    check_scope(state, &authorization, signed.service, &at)?;
    let names: Vec<&str> = authorization.signed_headers.split(';').collect();
    if !names.contains(&"host") {
        let why = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
        return Err(AwsError::front("InvalidSignatureException", why));
    }
    if signature(&key.secret, &authorization, signed, &at) != authorization.signature {
        return Err(AwsError::front(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method. Consult the service documentation for \
             details.",
        ));
    }
    Ok(key)
}

fn unrecognized() -> AwsError {
    AwsError::front(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}

fn check_token(state: &State, key: &AccessKey, token: &str) -> Result<(), AwsError> {
    if key.session_token.as_deref().unwrap_or_default() != token {
        return Err(unrecognized());
    }
    if key.expires_at_micros.is_some_and(|at| at <= state.moment) {
        return Err(AwsError::front(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ));
    }
    Ok(())
}

fn check_date(state: &State, at: &str) -> Result<(), AwsError> {
    let Some(signed_at) = parse_basic(at) else {
        return Err(AwsError::front(
            "IncompleteSignatureException",
            format!("Date must be in ISO-8601 'basic format'. Got '{at}'."),
        ));
    };
    if state.setup.signatures == Signatures::Undated {
        return Ok(());
    }
    let now = state.moment;
    let (oldest, newest) = (now.saturating_sub(SKEW_MAX), now.saturating_add(SKEW_MAX));
    if signed_at < oldest {
        let (oldest, now) = (basic(oldest), basic(now));
        let why = format!("Signature expired: {at} is now earlier than {oldest} ({now} - 5 min.)");
        return Err(AwsError::front("InvalidSignatureException", why));
    }
    if signed_at > newest {
        let (newest, now) = (basic(newest), basic(now));
        let why = format!(
            "Signature not yet current: {at} is still later than {newest} ({now} + 5 min.)"
        );
        return Err(AwsError::front("InvalidSignatureException", why));
    }
    Ok(())
}

fn check_scope(
    state: &State,
    authorization: &Authorization,
    service: &str,
    at: &str,
) -> Result<(), AwsError> {
    let refuse = |why: String| Err(AwsError::front("InvalidSignatureException", why));
    if !at.starts_with(&authorization.date) {
        return refuse(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP: '{}' != '{at}'.",
            authorization.date
        ));
    }
    if authorization.service != service {
        return refuse(format!(
            "Credential should be scoped to correct service: '{service}'."
        ));
    }
    // Organizations is one for all regions; clients sign for the one they think of. IAM is signed
    // for us-east-1, and STS for its region, or for us-east-1 where it is the global one.
    let (region, own) = (authorization.region.as_str(), state.setup.region.as_str());
    let fits = match service {
        "organizations" => true,
        "iam" => region == "us-east-1",
        "sts" => region == "us-east-1" || region == own,
        _ => region == own,
    };
    if !fits {
        return refuse(format!(
            "Credential should be scoped to a valid region, not '{}'.",
            authorization.region
        ));
    }
    Ok(())
}

/// Reads the `Authorization` header.
fn authorization(headers: &HeaderMap) -> Option<Authorization> {
    let given = header(headers, "authorization");
    let parts: Vec<(&str, &str)> = (given.strip_prefix(ALGORITHM)?.split(','))
        .filter_map(|part| part.trim().split_once('='))
        .collect();
    let part = |name: &str| {
        (parts.iter())
            .find(|(it, _)| *it == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let credential = part("Credential")?;
    let mut scope = credential.split('/').map(str::to_owned);
    let (key, date) = (scope.next()?, scope.next()?);
    let (region, service) = (scope.next()?, scope.next()?);
    if scope.next()? != "aws4_request" || scope.next().is_some() {
        return None;
    }
    Some(Authorization {
        key,
        date,
        region,
        service,
        signed_headers: part("SignedHeaders")?,
        signature: part("Signature")?,
    })
}

/// The signature that the secret gives this request.
fn signature(secret: &str, authorization: &Authorization, signed: &Signed<'_>, at: &str) -> String {
    let canonical = canonical(authorization, signed);
    let Authorization {
        date,
        region,
        service,
        ..
    } = authorization;
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let hash = hex::encode(Sha256::digest(canonical));
    let to_sign = format!("{ALGORITHM}\n{at}\n{scope}\n{hash}");
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), date);
    for part in [region.as_str(), service.as_str(), "aws4_request"] {
        key = hmac(&key, part);
    }
    hex::encode(hmac(&key, &to_sign))
}

/// The request as it is signed.
fn canonical(authorization: &Authorization, signed: &Signed<'_>) -> String {
    let mut query: Vec<&str> = (signed.uri.query().unwrap_or_default().split('&'))
        .filter(|it| !it.is_empty())
        .collect();
    query.sort_unstable();
    let headers: String = (authorization.signed_headers.split(';'))
        .map(|name| format!("{name}:{}\n", header(signed.headers, name)))
        .collect();
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        signed.method,
        signed.uri.path(),
        query.join("&"),
        authorization.signed_headers,
        hex::encode(Sha256::digest(signed.body)),
    )
}

/// A header's values, trimmed, with single spaces, joined by commas.
fn header(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<String> = (headers.get_all(name).iter())
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    values.join(",")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Method, Uri};

    use super::{Signed, authorization, signature};

    #[test]
    fn the_signature_is_aws_own() {
        // The example of "Signature Version 4 signing process" in the General Reference: IAM's
        // ListUsers, signed by AWS's documented example key.
        let mut headers = HeaderMap::new();
        let authorized = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/\
                          aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=\
                          5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        for (name, value) in [
            ("authorization", authorized),
            (
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            ),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let signed = Signed {
            method: &Method::GET,
            uri: &Uri::from_static("/?Action=ListUsers&Version=2010-05-08"),
            headers: &headers,
            body: b"",
            service: "iam",
        };
        let given = authorization(&headers).unwrap();
        assert_eq!(
            signature(
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                &given,
                &signed,
                "20150830T123600Z"
            ),
            given.signature
        );
    }
}
