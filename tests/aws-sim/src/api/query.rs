//! The Query protocol, which IAM and STS speak: a form in, XML out. What is asked and answered is
//! read into, and written from, the same JSON that the other services have.

use serde_json::{Map, Value};

use super::{Service, Target};
use crate::error::AwsError;

/// What a form asks for: its operation by name and version.
pub(super) fn target(body: &str) -> Option<(Service, String)> {
    let form = read(body);
    let text = |name: &str| form.get(name).and_then(Value::as_str).unwrap_or_default();
    let service = match text("Version") {
        "2010-05-08" => Service::Iam,
        "2011-06-15" => Service::Sts,
        _ => return None,
    };
    Some((service, text("Action").to_owned()))
}

/// The members of a form. All of them are text; a list is a member for each entry, such as
/// `Filter.member.1`.
pub(crate) fn read(body: &str) -> Map<String, Value> {
    let members = body.split('&').filter(|it| !it.is_empty());
    members
        .map(|member| {
            let (name, value) = member.split_once('=').unwrap_or((member, ""));
            (decoded(name), Value::String(decoded(value)))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next(), rest.next()];
                let value = digits.iter().try_fold(0_u8, |value, digit| {
                    let digit = char::from((*digit)?).to_digit(16)?;
                    Some(value << 4 | u8::try_from(digit).ok()?)
                });
                bytes.push(value.unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text as a URL has it (RFC 3986): how IAM answers with a policy document.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn space(service: Service) -> &'static str {
    match service {
        Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        _ => "https://iam.amazonaws.com/doc/2010-05-08/",
    }
}

/// An answer. What answers nothing has no result.
pub(crate) fn answer(target: Target, result: &Value, request_id: &str) -> String {
    let (name, space) = (target.operation, space(target.service));
    let result = match result {
        Value::Null => String::new(),
        result => format!("<{name}Result>{}</{name}Result>", xml(result)),
    };
    format!(
        "<{name}Response xmlns=\"{space}\">{result}<ResponseMetadata><RequestId>{request_id}\
         </RequestId></ResponseMetadata></{name}Response>"
    )
}

/// An error, by the name that this protocol has for it, and its status.
pub(crate) fn refusal(error: &AwsError, service: Service, request_id: &str) -> (u16, String) {
    let (code, status) = named(error);
    let kind = if status < 500 { "Sender" } else { "Receiver" };
    let text = format!(
        "<ErrorResponse xmlns=\"{}\"><Error><Type>{kind}</Type><Code>{code}</Code><Message>{}\
         </Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        space(service),
        escaped(error.message()),
    );
    (status, text)
}

/// The front of the Query services says the same as that of the others, in other words ("Common
/// Errors", IAM API Reference).
fn named(error: &AwsError) -> (&'static str, u16) {
    match error.code {
        "AccessDeniedException" => ("AccessDenied", 403),
        "ExpiredTokenException" => ("ExpiredToken", 403),
        "IncompleteSignatureException" => ("IncompleteSignature", 400),
        "InvalidSignatureException" => ("SignatureDoesNotMatch", 403),
        "MissingAuthenticationTokenException" => ("MissingAuthenticationToken", 403),
        "ServiceUnavailableException" => ("ServiceUnavailable", 503),
        "UnknownOperationException" => ("InvalidAction", 400),
        "UnrecognizedClientException" => ("InvalidClientTokenId", 403),
        code => (code, error.status),
    }
}

fn xml(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("<{name}>{}</{name}>", xml(value)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| format!("<member>{}</member>", xml(item)))
            .collect(),
        Value::String(text) => escaped(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{encoded, read};

    #[test]
    fn what_is_encoded_is_read_back() {
        let text = "{\"Version\":\"2012-10-17\", \"ä\": [\"~+&=%\"]}";
        let form = format!("Action=Put&PolicyDocument={}", encoded(text));
        assert_eq!(read(&form)["PolicyDocument"], text);
        assert_eq!(read("A=b+c%")["A"], "b c?");
        assert_eq!(encoded("a b/~"), "a%20b%2F~");
    }
}
