//! A network between the store and DynamoDB that fails as it is told, and counts what goes over it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What happens to one call.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// It arrives and is answered.
    Nothing,
    /// It never arrives.
    LoseCall,
    /// It is done, and the answer is lost.
    LoseReply,
    /// It is done, and the answer does not come.
    HangReply,
    /// It does not arrive and is not answered.
    Hang,
    /// It is not done; the answer is this status, code and message.
    Refuse(u16, &'static str, &'static str),
    /// It is not done; the answer is this.
    Answer(Value),
    /// It is done, and the answer is no answer of DynamoDB's.
    Garbage,
    /// Of a batch only so many rows are read, the rest is left to be asked for.
    Undone(usize),
    /// The transaction is not done, for these reasons, the first row's first.
    Cancel(Vec<&'static str>),
    /// It is answered as conflicting with another transaction, and done just before the next batch
    /// is read.
    CancelAndDoLater,
    /// It waits for this, and is done.
    Wait(Arc<Notify>),
}

#[derive(Default)]
struct State {
    coming: Mutex<Vec<(&'static str, VecDeque<Trouble>)>>,
    calls: Mutex<Vec<String>>,
    touched: Mutex<Vec<BTreeSet<String>>>,
    late: Mutex<Option<HttpRequest>>,
    forgets_tokens: Mutex<bool>,
    tokens: AtomicU32,
}

/// A client of the SDK whose calls can fail. Clones share what is coming.
#[derive(Clone)]
pub(crate) struct Faulty {
    inner: aws_smithy_runtime_api::client::http::SharedHttpClient,
    state: Arc<State>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").finish_non_exhaustive()
    }
}

impl Faulty {
    pub(crate) fn new() -> Self {
        Self {
            inner: aws_smithy_http_client::Builder::new().build_http(),
            state: Arc::default(),
        }
    }

    /// The next calls of this operation meet this, one after the other; later ones nothing.
    pub(crate) fn next(&self, call: &'static str, troubles: impl IntoIterator<Item = Trouble>) {
        let troubles = troubles.into_iter().collect();
        self.state.coming.lock().unwrap().push((call, troubles));
    }

    /// Every call of this operation, from now on for a long time.
    pub(crate) fn always(&self, call: &'static str, trouble: &Trouble) {
        self.next(call, std::iter::repeat_n(trouble.clone(), 1_000));
    }

    /// Nothing is coming any more.
    pub(crate) fn heal(&self) {
        self.state.coming.lock().unwrap().clear();
    }

    /// From now on no token is known when it is seen again.
    pub(crate) fn forget_tokens(&self) {
        *self.state.forgets_tokens.lock().unwrap() = true;
    }

    /// The rows of each transaction that went out since this was last asked.
    pub(crate) fn touched(&self) -> Vec<BTreeSet<String>> {
        std::mem::take(&mut self.state.touched.lock().unwrap())
    }

    /// The operations that were called since this was last asked, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.calls.lock().unwrap())
    }
}

impl HttpClient for Faulty {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Wire {
            inner: self.inner.http_connector(settings, components),
            state: self.state.clone(),
        })
    }
}

struct Wire {
    inner: SharedHttpConnector,
    state: Arc<State>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl HttpConnector for Wire {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let call = target.rsplit('.').next().unwrap_or_default().to_owned();
        self.state.calls.lock().unwrap().push(call.clone());
        if call == "TransactWriteItems" {
            let rows = rows_of(&request);
            self.state.touched.lock().unwrap().push(rows);
        }
        let trouble = self.state.trouble(&call);
        if *self.state.forgets_tokens.lock().unwrap() && call == "TransactWriteItems" {
            let fresh = format!("fresh-{}", self.state.tokens.fetch_add(1, Ordering::SeqCst));
            rewrite(&mut request, |body| {
                body["ClientRequestToken"] = json!(fresh)
            });
        }
        let late = (call == "BatchGetItem").then(|| self.state.late.lock().unwrap().take());
        let (inner, state) = (self.inner.clone(), self.state.clone());
        HttpConnectorFuture::new(async move {
            if let Some(late) = late.flatten() {
                inner.call(late).await?;
            }
            meet(&inner, &state, request, trouble).await
        })
    }
}

impl State {
    fn trouble(&self, call: &str) -> Trouble {
        let mut coming = self.coming.lock().unwrap();
        let found = coming
            .iter_mut()
            .filter(|(name, _)| *name == call || *name == "*");
        let mut found = found.filter_map(|(_, troubles)| troubles.pop_front());
        found.next().unwrap_or(Trouble::Nothing)
    }
}

async fn meet(
    inner: &SharedHttpConnector,
    state: &State,
    mut request: HttpRequest,
    trouble: Trouble,
) -> Result<HttpResponse, ConnectorError> {
    let lost = || ConnectorError::io("the connection broke".into());
    match trouble {
        Trouble::Nothing => inner.call(request).await,
        Trouble::LoseCall => Err(lost()),
        Trouble::LoseReply => {
            inner.call(request).await?;
            Err(lost())
        }
        Trouble::HangReply => {
            inner.call(request).await?;
            std::future::pending().await
        }
        Trouble::Hang => std::future::pending().await,
        Trouble::Wait(gate) => {
            gate.notified().await;
            inner.call(request).await
        }
        Trouble::Refuse(status, code, message) => Ok(refusal(
            status,
            &json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message}),
        )),
        Trouble::Answer(body) => Ok(refusal(200, &body)),
        Trouble::Garbage => {
            inner.call(request).await?;
            let body = SdkBody::from("<html>a proxy's page</html>");
            Ok(HttpResponse::new(StatusCode::try_from(200).unwrap(), body))
        }
        Trouble::Undone(count) => {
            let mut rest = Vec::new();
            let mut name = String::new();
            rewrite(&mut request, |body| {
                let tables = body["RequestItems"].as_object_mut().unwrap();
                let (table, wanted) = tables.iter_mut().next().unwrap();
                name.clone_from(table);
                let keys = wanted["Keys"].as_array_mut().unwrap();
                rest = keys.split_off(count.min(keys.len()));
            });
            let mut answer = match count {
                0 => json!({"Responses": {}}),
                _ => read(inner.call(request).await?).await,
            };
            if !rest.is_empty() {
                answer["UnprocessedKeys"] = json!({name: {"Keys": rest, "ConsistentRead": true}});
            }
            Ok(refusal(200, &answer))
        }
        Trouble::Cancel(reasons) => Ok(cancelled(&reasons)),
        Trouble::CancelAndDoLater => {
            *state.late.lock().unwrap() = Some(request);
            Ok(cancelled(&["TransactionConflict"]))
        }
    }
}

fn rows_of(request: &HttpRequest) -> BTreeSet<String> {
    let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
    let items = body["TransactItems"].as_array().unwrap().iter();
    let keys = items.map(|item| {
        let (_, write) = item.as_object().unwrap().iter().next().unwrap();
        let row = write.get("Item").unwrap_or(&write["Key"]);
        format!("{} {}", row["pk"]["S"], row["sk"]["S"])
    });
    keys.collect()
}

fn cancelled(reasons: &[&str]) -> HttpResponse {
    let reasons = reasons
        .iter()
        .map(|code| json!({"Code": code, "Message": "as told"}));
    let reasons: Vec<Value> = reasons.collect();
    refusal(
        400,
        &json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled",
            "CancellationReasons": reasons,
        }),
    )
}

fn refusal(status: u16, body: &Value) -> HttpResponse {
    let status = StatusCode::try_from(status).unwrap();
    let mut answer = HttpResponse::new(status, SdkBody::from(body.to_string()));
    let headers = answer.headers_mut();
    headers.insert("content-type", "application/x-amz-json-1.0");
    headers.insert("x-amzn-requestid", "REQUEST");
    answer
}

async fn read(answer: HttpResponse) -> Value {
    let body = ByteStream::new(answer.into_body()).collect().await.unwrap();
    serde_json::from_slice(&body.into_bytes()).unwrap()
}

fn rewrite(request: &mut HttpRequest, change: impl FnOnce(&mut Value)) {
    let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
    change(&mut body);
    let body = body.to_string();
    let length = body.len().to_string();
    request.headers_mut().insert("content-length", length);
    *request.body_mut() = SdkBody::from(body);
}

/// Deadlines as [`jit_dynamodb::client`] has them, and a tenth of its pauses.
pub(crate) fn as_in_production(
    config: aws_sdk_dynamodb::config::Builder,
) -> aws_sdk_dynamodb::config::Builder {
    use aws_sdk_dynamodb::config::{retry::RetryConfig, timeout::TimeoutConfig};
    let limits = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_millis(500))
        .operation_timeout(Duration::from_millis(2_000))
        .build();
    let tries = RetryConfig::standard()
        .with_max_attempts(3)
        .with_initial_backoff(Duration::from_millis(5));
    config.timeout_config(limits).retry_config(tries)
}
