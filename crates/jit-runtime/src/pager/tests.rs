//! What the pagers promise, against a real server on loopback.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use jit_core::Timestamp;
use tokio::net::TcpListener;

use super::*;

/// What a call to the server carried: the authorization and the body.
type Calls = Arc<Mutex<Vec<(Option<HeaderValue>, serde_json::Value)>>>;

/// A server that keeps what it was sent and answers as its path says.
struct Server {
    root: String,
    calls: Calls,
}

impl Server {
    async fn start() -> Self {
        async fn keep(State(calls): State<Calls>, headers: HeaderMap, body: String) -> StatusCode {
            let token = headers.get(header::AUTHORIZATION).cloned();
            let body = serde_json::from_str(&body).unwrap();
            calls.lock().unwrap().push((token, body));
            StatusCode::NO_CONTENT
        }
        async fn elsewhere() -> impl IntoResponse {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/ok")])
        }
        let calls = Calls::default();
        let app = Router::new()
            .route("/ok", post(keep))
            .route("/redirect", post(elsewhere))
            .route("/never", post(std::future::pending::<StatusCode>))
            .route("/500", post(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
            .route("/401", post(|| async { StatusCode::UNAUTHORIZED }))
            .route("/429", post(|| async { StatusCode::TOO_MANY_REQUESTS }))
            .with_state(Arc::clone(&calls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { root, calls }
    }

    fn pager(&self, path: &str) -> WebhookPager {
        pager(&format!("{}{path}", self.root))
    }

    fn calls(&self) -> Vec<(Option<HeaderValue>, serde_json::Value)> {
        self.calls.lock().unwrap().clone()
    }
}

fn pager(url: &str) -> WebhookPager {
    let token = SecretString::from("canary-token");
    WebhookPager::new(url.parse().unwrap(), Some(token)).unwrap()
}

fn alarm() -> Alarm {
    let at = Timestamp::from_unix_micros(1_800_000_000_000_000);
    Alarm {
        request: Some(jit_core::request::RequestId::new(at, [3; 10])),
        summary: "a grant is stuck".to_owned(),
        at,
    }
}

/// Everything that an error says, its causes too.
fn whole_story(error: &PortError) -> String {
    let mut story = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        story.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    story
}

#[tokio::test]
async fn an_alarm_arrives_as_json_with_the_bearer_token() {
    let server = Server::start().await;
    server.pager("/ok").page(&alarm()).await.unwrap();
    let calls = server.calls();
    let [(token, body)] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!(token.as_ref().unwrap(), "Bearer canary-token");
    assert_eq!(*body, serde_json::to_value(alarm()).unwrap());
    assert_eq!(body["at"], "2027-01-15T08:00:00Z");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_is_an_error() {
    let server = Server::start().await;
    let error = server.pager("/redirect").page(&alarm()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert_eq!(server.calls(), []);
}

#[tokio::test]
async fn an_answer_that_is_not_2xx_is_an_error_of_its_kind() {
    let server = Server::start().await;
    for (path, kind) in [
        ("/500", ErrorKind::Unavailable),
        ("/401", ErrorKind::Forbidden),
        (
            "/429",
            ErrorKind::RateLimited {
                retry_after_ms: None,
            },
        ),
        ("/missing", ErrorKind::Misconfigured),
    ] {
        let error = server.pager(path).page(&alarm()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{path}");
    }
}

#[tokio::test]
async fn a_webhook_that_never_answers_is_given_up_at_the_deadline() {
    let server = Server::start().await;
    let url = format!("{}/never", server.root).parse().unwrap();
    let deadline = Duration::from_millis(50);
    let pager = WebhookPager::with_deadline(url, None, deadline).unwrap();
    // The outer limit is for the test itself, should the deadline ever be lost.
    let alarm = alarm();
    let outer = tokio::time::timeout(Duration::from_secs(5), pager.page(&alarm));
    let error = outer.await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.effect, jit_core::ports::Effect::Unknown);
    assert!(whole_story(&error).contains("in time"));
    assert!(WEBHOOK_DEADLINE < Duration::from_secs(15));
}

#[tokio::test]
async fn no_error_and_no_debug_text_holds_the_token_or_the_address() {
    let server = Server::start().await;
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}/canary-path", refused.local_addr().unwrap());
    drop(refused);
    let pagers = [
        server.pager("/500?key=canary-query"),
        server.pager("/redirect?key=canary-query"),
        pager(&closed),
        pager("https://127.0.0.1:1/canary-path"),
    ];
    for pager in pagers {
        let error = pager.page(&alarm()).await.unwrap_err();
        let story = format!("{} {pager:?}", whole_story(&error));
        assert!(!story.contains("canary"), "{story}");
    }
    let url: WebhookUrl = "https://example.com/canary".parse().unwrap();
    assert!(!format!("{url:?}").contains("canary"));
}

#[test]
fn a_webhook_is_https_or_on_loopback_and_carries_no_password() {
    let parse = |text: &str| text.parse::<WebhookUrl>();
    for good in [
        "https://alerts.example.com/x",
        "http://127.0.0.1:9/",
        "http://localhost/",
        "http://[::1]:9/",
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("", BadWebhookUrl::Form),
        ("alerts.example.com", BadWebhookUrl::Form),
        ("file:///etc/passwd", BadWebhookUrl::Form),
        ("ftp://example.com/", BadWebhookUrl::Form),
        ("http://alerts.example.com/", BadWebhookUrl::Clear),
        ("http://127.0.0.1.example.com/", BadWebhookUrl::Clear),
        ("https://ana@example.com/", BadWebhookUrl::Password),
        ("https://ana:x@example.com/", BadWebhookUrl::Password),
    ] {
        assert_eq!(parse(bad), Err(why), "{bad}");
    }
}

/// A log that is kept as text.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<String>>);

impl tracing::Subscriber for Kept {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields<'a>(&'a mut String);
        impl tracing::field::Visit for Fields<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?};"));
            }
        }
        event.record(&mut Fields(&mut self.0.lock().unwrap()));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn the_log_line_and_the_metric_come_whatever_the_webhook_does() {
    let server = Server::start().await;
    let log = Kept::default();
    let recorder = crate::observe::tests::Tally::default();
    let (_subscriber, _recorder) = (
        tracing::subscriber::set_default(log.clone()),
        metrics::set_default_local_recorder(&recorder),
    );
    let with = |webhook| Pagers::new(vec![Arc::new(webhook)]);
    Pagers::new(vec![]).page(&alarm()).await.unwrap();
    let with_webhook = with(server.pager("/ok"));
    with_webhook.page(&alarm()).await.unwrap();
    assert_eq!(server.calls().len(), 1);
    let failing = with(server.pager("/500?canary-query"));
    failing.page(&alarm()).await.unwrap_err();
    assert_eq!(recorder.count("jit_pages_total{}"), 3);
    let log = log.0.lock().unwrap();
    assert_eq!(log.matches("summary=a grant is stuck").count(), 3, "{log}");
    assert_eq!(log.matches("request.id=req-").count(), 3, "{log}");
    assert!(!log.contains("canary"), "{log}");
}

/// Takes alarms once it is mended, and counts the calls.
#[derive(Default)]
struct Outlet {
    calls: Mutex<usize>,
    is_mended: Mutex<bool>,
}

#[async_trait]
impl Pager for Outlet {
    async fn page(&self, _: &Alarm) -> Result<(), PortError> {
        *self.calls.lock().unwrap() += 1;
        match *self.is_mended.lock().unwrap() {
            true => Ok(()),
            false => Err(PortError::maybe_done(
                "outlet",
                "page",
                ErrorKind::Unavailable,
            )),
        }
    }
}

#[tokio::test]
async fn whoever_took_an_alarm_is_not_called_again_while_another_is() {
    let (sound, broken) = (Arc::new(Outlet::default()), Arc::new(Outlet::default()));
    *sound.is_mended.lock().unwrap() = true;
    let pagers = Pagers::new(vec![sound.clone(), broken.clone()]);
    let calls = || [&sound, &broken].map(|outlet| *outlet.calls.lock().unwrap());
    let later = Alarm {
        at: alarm().at + Duration::from_secs(1),
        ..alarm()
    };
    for expected in [[1, 1], [1, 2]] {
        pagers.page(&alarm()).await.unwrap_err();
        assert_eq!(calls(), expected);
    }
    // Another alarm is one of its own.
    pagers.page(&later).await.unwrap_err();
    assert_eq!(calls(), [2, 3]);
    *broken.is_mended.lock().unwrap() = true;
    pagers.page(&alarm()).await.unwrap();
    pagers.page(&later).await.unwrap();
    assert_eq!(calls(), [2, 5]);
    // What was handed over is forgotten, and told whenever it comes again.
    pagers.page(&alarm()).await.unwrap();
    assert_eq!(calls(), [3, 6]);
}

#[tokio::test]
async fn what_is_remembered_of_alarms_has_an_end() {
    let sound = Arc::new(Outlet::default());
    *sound.is_mended.lock().unwrap() = true;
    let broken = Arc::new(Outlet::default());
    let pagers = Pagers::new(vec![sound.clone(), broken]);
    for number in 0..=HALFWAY_LIMIT as u64 {
        let one = Alarm {
            at: alarm().at + Duration::from_secs(number),
            ..alarm()
        };
        pagers.page(&one).await.unwrap_err();
    }
    assert_eq!(pagers.halfway.lock().unwrap().len(), HALFWAY_LIMIT);
    // The oldest was forgotten, so whoever took it is called once more.
    pagers.page(&alarm()).await.unwrap_err();
    assert_eq!(*sound.calls.lock().unwrap(), HALFWAY_LIMIT + 2);
}
