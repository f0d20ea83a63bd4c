//! No secret and nobody's address in what is said of a failure, however it fails.

use jit_core::ports::{Pager, Rota};
use okta_sim::{Away, Hostility, Operation, Reset};

use super::*;

/// A log of everything, as text.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_error_no_debug_text_and_no_log_line_holds_a_secret_or_an_address() {
    let log = Kept::default();
    let keep = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || keep.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let account = Account::new();
    let world = account.world().clone();
    // One who cannot be named, and one who can.
    let odd = world.add_responder("Odd", "canary'person@example.com");
    account.on_call(&odd, 1);
    account.on_call(&account.ana, 1);
    let (rota, pager) = (account.rota(), account.pager());
    rota.on_call(now()).await.unwrap();
    pager.page(&alarm()).await.unwrap();
    let mut said = format!("{rota:?} {pager:?} {:?}", account.settings());
    let reset = Reset::Missing;
    for hostility in [
        Hostility::Throttle(reset),
        Hostility::InternalError,
        Hostility::Garbage,
        Hostility::LoseReply,
        Hostility::Redirect("https://example.com/?canary".to_owned()),
    ] {
        for operation in [Operation::ListOnCalls, Operation::EnqueueEvent] {
            world.hostile(operation, hostility.clone());
        }
        said.push_str(&whole_story(&rota.on_call(now()).await.unwrap_err()));
        said.push_str(&whole_story(&pager.page(&alarm()).await.unwrap_err()));
        world.calm();
    }
    world.configure(|setup| {
        setup.pagerduty_tokens.clear();
        setup.routing_keys.clear();
    });
    said.push_str(&whole_story(&rota.on_call(now()).await.unwrap_err()));
    said.push_str(&whole_story(&pager.page(&alarm()).await.unwrap_err()));
    world.away(Away::Refused);
    said.push_str(&whole_story(&rota.on_call(now()).await.unwrap_err()));
    // What cannot be read is not quoted.
    let body = r#"{"oncalls": "canary@example.com", "more": false}"#;
    let odd = Odd::answering(&[body]);
    let rota = odd.rota(account.by_schedule());
    said.push_str(&whole_story(&rota.on_call(now()).await.unwrap_err()));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("somebody on call has no e-mail address"),
        "{log}"
    );
    let ours = log.lines().filter(|line| line.contains("jit_pagerduty"));
    for line in ours.chain(said.lines()) {
        let bare = !line.contains("canary") && !line.contains("@example.com");
        assert!(bare, "{line}");
    }
    // Those whom we call say little at this level, and no secret.
    assert!(!log.contains(TOKEN) && !log.contains(ROUTING_KEY));
}
