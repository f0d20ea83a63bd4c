//! A small client that signs by itself and reads one answer per connection, and a stage to use it
//! on.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aws_sim::{AccessKey, Setup, Sim};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// 2026-11-26, 05:17:52 UTC.
pub(crate) const START: i64 = 1_795_670_272_000_000;

pub(crate) const ACCOUNT: &str = "222222222222";

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Reply {
    /// The name of the error, without its namespace.
    pub(crate) fn error(&self) -> &str {
        let named = self.body["__type"].as_str().unwrap_or_default();
        named.rsplit_once('#').map_or(named, |(_, name)| name)
    }

    /// What stands in an element of XML, if there is one of that name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let (_, rest) = self.text.split_once(&format!("<{name}>"))?;
        let (inside, _) = rest.split_once(&format!("</{name}>"))?;
        Some(inside.to_owned())
    }

    pub(crate) fn message(&self) -> &str {
        let message = self.body["Message"].as_str();
        message
            .or(self.body["message"].as_str())
            .unwrap_or_default()
    }
}

/// One connection: a request, and the answer until it closes.
pub(crate) fn exchange(
    address: &str,
    head: &str,
    body: &str,
    patience: Duration,
) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience))?;
    let length = body.len();
    let request = format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(io::ErrorKind::ConnectionReset.into());
    };
    Ok(Reply {
        status: head[9..12].parse().unwrap(),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        text: body.to_owned(),
    })
}

/// How a call is signed, and with what deviation.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) key: AccessKey,
    pub(crate) region: String,
    pub(crate) service: Option<String>,
    pub(crate) skew: i64,
    pub(crate) body: Option<String>,
}

impl Signer {
    pub(crate) fn new(key: AccessKey) -> Self {
        Self {
            key,
            region: "eu-central-1".to_owned(),
            service: None,
            skew: 0,
            body: None,
        }
    }

    fn head(&self, address: &str, target: &str, body: &str, now: i64) -> String {
        let date = date(now + self.skew);
        let token = self.key.session_token.clone().unwrap_or_default();
        let service = self
            .service
            .as_deref()
            .unwrap_or(match target.split('.').next() {
                Some("SWBExternalService") => "sso",
                Some("AWSIdentityStore") => "identitystore",
                Some("iam") => "iam",
                Some("sts") => "sts",
                _ => "organizations",
            });
        // A form says by itself what it asks for.
        let is_form = service == "iam" || service == "sts";
        let kind = match is_form {
            true => "application/x-www-form-urlencoded",
            false => "application/x-amz-json-1.1",
        };
        let mut headers = vec![
            ("content-type", kind),
            ("host", address),
            ("x-amz-date", &date),
        ];
        if !token.is_empty() {
            headers.push(("x-amz-security-token", &token));
        }
        if !is_form {
            headers.push(("x-amz-target", target));
        }
        let names: Vec<&str> = headers.iter().map(|it| it.0).collect();
        let names = names.join(";");
        let lines = |end: &str| -> String {
            headers
                .iter()
                .map(|(name, value)| format!("{name}:{value}{end}"))
                .collect()
        };
        let hash = hex::encode(Sha256::digest(self.body.as_deref().unwrap_or(body)));
        let canonical = format!("POST\n/\n\n{}\n{names}\n{hash}", lines("\n"));
        let region = match service {
            "iam" if self.service.is_none() => "us-east-1",
            _ => &self.region,
        };
        let scope = format!("{}/{region}/{service}/aws4_request", &date[..8]);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical))
        );
        let mut key = format!("AWS4{}", self.key.secret).into_bytes();
        for part in [&date[..8], region, service, "aws4_request"] {
            key = hmac(&key, part);
        }
        let signature = hex::encode(hmac(&key, &to_sign));
        format!(
            "POST / HTTP/1.1\r\n{}authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders={names}, Signature={signature}\r\n",
            lines("\r\n"),
            self.key.id
        )
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn date(micros: i64) -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let at = time::OffsetDateTime::from_unix_timestamp(micros / 1_000_000).unwrap();
    at.format(format).unwrap()
}

/// A call of the Query protocol.
pub(crate) fn form(service: &str, operation: &str, fields: &[(&str, &str)]) -> String {
    let version = match service {
        "sts" => "2011-06-15",
        _ => "2010-05-08",
    };
    let mut form = format!("Action={operation}&Version={version}");
    for (name, value) in fields {
        let value: String = (value.bytes())
            .map(|byte| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            })
            .collect();
        form.push_str(&format!("&{name}={value}"));
    }
    form
}

/// An organization with an account, a permission set and a user, whose time stands still, where
/// everything takes ten seconds.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
    pub(crate) signer: Signer,
    pub(crate) set: String,
    pub(crate) user: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let setup = Setup::default().manual(START);
        Self::with(setup.applying_in(Duration::from_secs(10)))
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let sim = Sim::start(setup).unwrap();
        let world = sim.world();
        world.add_account(ACCOUNT, "production");
        let set = world.add_permission_set("ReadOnly", Duration::from_secs(4 * 3600));
        let user = world.add_user("ana", "ana@example.com");
        Self {
            signer: Signer::new(AccessKey::default()),
            set,
            user,
            sim,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.sim.url().trim_start_matches("http://").to_owned()
    }

    /// A call whose connection may be lost.
    pub(crate) fn attempt(
        &self,
        target: &str,
        body: &Value,
        patience: Duration,
    ) -> io::Result<Reply> {
        let (address, body) = (self.address(), body.to_string());
        let head = self
            .signer
            .head(&address, target, &body, self.sim.world().now());
        exchange(&address, &head, &body, patience)
    }

    pub(crate) fn raw(&self, target: &str, body: &Value) -> Reply {
        self.attempt(target, body, Duration::from_secs(20)).unwrap()
    }

    /// Calls `sso-admin`, with the instance.
    pub(crate) fn sso(&self, operation: &str, mut body: Value) -> Reply {
        body["InstanceArn"] = json!(self.sim.world().instance_arn());
        self.raw(&format!("SWBExternalService.{operation}"), &body)
    }

    pub(crate) fn store(&self, operation: &str, mut body: Value) -> Reply {
        body["IdentityStoreId"] = json!(self.sim.world().identity_store_id());
        self.raw(&format!("AWSIdentityStore.{operation}"), &body)
    }

    /// Asks IAM or STS, by its signing name; the answer is XML.
    pub(crate) fn query(&self, service: &str, operation: &str, fields: &[(&str, &str)]) -> Reply {
        let form = form(service, operation, fields);
        self.attempt_form(service, &form, Duration::from_secs(20))
            .unwrap()
    }

    /// A call in a form whose connection may be lost.
    pub(crate) fn attempt_form(
        &self,
        service: &str,
        form: &str,
        patience: Duration,
    ) -> io::Result<Reply> {
        let address = self.address();
        let target = format!("{service}.");
        let now = self.sim.world().now();
        let head = self.signer.head(&address, &target, form, now);
        exchange(&address, &head, form, patience)
    }

    pub(crate) fn organizations(&self, operation: &str, body: Value) -> Reply {
        self.raw(&format!("AWSOrganizationsV20161128.{operation}"), &body)
    }

    /// What creations and deletions are about here.
    pub(crate) fn wanted(&self) -> Value {
        self.wanted_of(ACCOUNT, &self.user)
    }

    pub(crate) fn wanted_of(&self, account: &str, user: &str) -> Value {
        json!({
            "InstanceArn": self.sim.world().instance_arn(), "TargetId": account,
            "TargetType": "AWS_ACCOUNT", "PermissionSetArn": self.set, "PrincipalType": "USER",
            "PrincipalId": user,
        })
    }

    /// Begins a creation and returns its request id.
    pub(crate) fn create(&self) -> String {
        let reply = self.sso("CreateAccountAssignment", self.wanted());
        let status = &reply.body["AccountAssignmentCreationStatus"];
        assert_eq!(status["Status"], "IN_PROGRESS", "{}", reply.text);
        status["RequestId"].as_str().unwrap().to_owned()
    }

    /// Begins a deletion and returns its request id.
    pub(crate) fn delete(&self) -> String {
        let reply = self.sso("DeleteAccountAssignment", self.wanted());
        let status = &reply.body["AccountAssignmentDeletionStatus"];
        assert_eq!(status["Status"], "IN_PROGRESS", "{}", reply.text);
        status["RequestId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn creation(&self, request_id: &str) -> Value {
        let asked = json!({"AccountAssignmentCreationRequestId": request_id});
        let reply = self.sso("DescribeAccountAssignmentCreationStatus", asked);
        reply.body["AccountAssignmentCreationStatus"].clone()
    }

    pub(crate) fn deletion(&self, request_id: &str) -> Value {
        let asked = json!({"AccountAssignmentDeletionRequestId": request_id});
        let reply = self.sso("DescribeAccountAssignmentDeletionStatus", asked);
        reply.body["AccountAssignmentDeletionStatus"].clone()
    }

    /// Who has the set in the account, as the API lists it.
    pub(crate) fn listed(&self) -> Vec<String> {
        let asked = json!({"AccountId": ACCOUNT, "PermissionSetArn": self.set});
        let reply = self.sso("ListAccountAssignments", asked);
        let listed = reply.body["AccountAssignments"].as_array().unwrap();
        (listed.iter())
            .map(|it| it["PrincipalId"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn is_assigned(&self) -> bool {
        self.sim.world().is_assigned(ACCOUNT, &self.set, &self.user)
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.sim.world().advance(Duration::from_secs(seconds));
    }
}
