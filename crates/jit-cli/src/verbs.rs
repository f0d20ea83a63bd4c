//! Each verb: its call, and what is shown of the answer.

use std::io::Write;

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Form;
use crate::command::{ApproveArgs, Command, DenyArgs, ListArgs, RequestArgs, RevokeArgs};
use crate::error::{CliError, Exit};
use crate::model::{
    Background, Collected, DriftList, Entitlement, EntitlementList, Event, EventList, Me, Paused,
    Request, RequestList,
};
use crate::session::{Call, Reply, Session};
use crate::text::{inert_json, inert_lines, instant, pairs, table};
use crate::wait::wait;

/// What can still be revoked, in the words of the API.
const REVOCABLE: &str = "pending,approved,provisioning,active";
/// Where the service cannot say whether that is all.
const PERHAPS_MORE: &str =
    "there may be more: whether you are in a group cannot be found out now; try again in a minute";
/// How many requests one page of a mass revoke has, and how many pages are asked for.
const PAGE: u32 = 500;
const PAGES_MAX: u32 = 100;

pub(crate) struct Verbs<'a> {
    pub(crate) session: &'a Session,
    pub(crate) form: Form,
    pub(crate) out: &'a mut (dyn Write + Send),
}

impl Verbs<'_> {
    pub(crate) async fn run(&mut self, command: &Command) -> Result<Exit, CliError> {
        match command {
            Command::Request(args) => return self.request(args).await,
            Command::List(args) if args.entitlements => self.entitlements(args).await?,
            Command::List(args) => self.list(args).await?,
            Command::Show(args) => self.show(&args.id).await?,
            Command::Approve(args) => self.approve(args).await?,
            Command::Deny(args) => self.deny(args).await?,
            Command::Retract(args) => self.verb(&args.id, "retract", json!({})).await?,
            Command::Withdraw(args) => self.verb(&args.id, "withdraw", json!({})).await?,
            Command::End(args) => self.verb(&args.id, "end", json!({})).await?,
            Command::Revoke(args) => return self.revoke(args).await,
            Command::Collect(args) => self.collect(&args.id).await?,
            Command::History(args) => self.history(&args.id).await?,
            Command::Pause => self.paused(Call::post(&["v1", "pause"], json!({}))).await?,
            Command::Resume => {
                self.paused(Call::post(&["v1", "resume"], json!({})))
                    .await?
            }
            Command::Status => self.status().await?,
            Command::Drift => self.drift().await?,
        }
        Ok(Exit::Done)
    }

    /// Shows where providers and records do not agree.
    async fn drift(&mut self) -> Result<(), CliError> {
        let reply = self.session.call(Call::get(&["v1", "drift"])).await?;
        let drifted: DriftList = reply.read()?;
        self.tell(&reply, |_| drifted.to_string())
    }

    // ------------------------------------------------------------------------------------ asking

    async fn request(&mut self, args: &RequestArgs) -> Result<Exit, CliError> {
        let mut body = json!({
            "entitlements": [{
                "entitlement": args.entitlement,
                "parameters": parameters(&args.parameters)?,
            }],
            "reason": args.reason,
        });
        if let Value::Object(fields) = &mut body {
            let ttl = args.ttl.clone().map(|ttl| ("ttl".to_owned(), ttl.into()));
            let beneficiary = args.beneficiary.clone();
            let beneficiary = beneficiary.map(|who| ("for".to_owned(), who.into()));
            fields.extend([ttl, beneficiary].into_iter().flatten());
        }
        let reply = self.session.create(&["v1", "requests"], body).await?;
        let request: Request = reply.read()?;
        if !args.wait {
            self.tell(&reply, |_| told(&request))?;
            return Ok(Exit::Done);
        }
        if self.form != Form::Json {
            writeln!(self.out, "{}: {}", request.id, request.what())?;
        }
        let (reply, request, exit) = wait(self.session, self.form, self.out, reply).await?;
        self.tell(&reply, |reply| how_it_came_out(reply, &request))?;
        Ok(exit)
    }

    // ----------------------------------------------------------------------------------- reading

    async fn list(&mut self, args: &ListArgs) -> Result<(), CliError> {
        let call = Call::get(&["v1", "requests"]).with(vec![
            ("principal", args.principal.clone()),
            ("entitlement", args.entitlement.clone()),
            ("status", args.status.clone()),
            ("from", args.from.clone()),
            ("until", args.until.clone()),
            ("limit", args.limit.map(|limit| limit.to_string())),
            ("after", args.after.clone()),
        ]);
        let reply = self.session.call(call).await?;
        let list: RequestList = reply.read()?;
        self.tell(&reply, |_| {
            let more = list
                .next
                .as_ref()
                .map(|next| format!("\nmore: --after {next}"));
            let unsure = match list.perhaps_more {
                true => format!("\n{PERHAPS_MORE}"),
                false => String::new(),
            };
            listed(&list.requests) + &unsure + &more.unwrap_or_default()
        })
    }

    async fn entitlements(&mut self, args: &ListArgs) -> Result<(), CliError> {
        let call = Call::get(&["v1", "entitlements"]).with(vec![
            ("search", args.search.clone()),
            ("limit", args.limit.map(|limit| limit.to_string())),
        ]);
        let reply = self.session.call(call).await?;
        let list: EntitlementList = reply.read()?;
        self.tell(&reply, |_| {
            if list.entitlements.is_empty() {
                return "there is nothing that you can ask for".to_owned();
            }
            let more = match list.more {
                0 => String::new(),
                more => format!("\n{more} more: --search TEXT finds them"),
            };
            let as_of = list.as_of.as_ref();
            let as_of = as_of.map(|at| format!("\nproviders were asked what they have at {at}"));
            let rows = list.entitlements.iter().map(Entitlement::row);
            table(&Entitlement::HEADINGS, rows) + &more + &as_of.unwrap_or_default()
        })
    }

    async fn show(&mut self, id: &str) -> Result<(), CliError> {
        let (reply, request) = self.fetch(id).await?;
        let mut lines = request.lines();
        if self.form != Form::Json && request.status.as_str() == "pending" {
            lines.extend(self.background(&request).await);
        }
        self.tell(&reply, |_| pairs(lines))
    }

    /// What is known beside the request, for those who may decide it: nobody else is told, and
    /// nobody waits for it in vain.
    async fn background(&self, request: &Request) -> Vec<(&'static str, String)> {
        let id = request.id.as_str();
        let call = Call::get(&["v1", "requests", id, "background"]);
        let known = self.session.call(call).await;
        let known = known.and_then(|reply| reply.read::<Background>());
        known.map_or(vec![], |known| known.lines())
    }

    async fn history(&mut self, id: &str) -> Result<(), CliError> {
        let id = checked(id)?;
        let reply = self
            .session
            .call(Call::get(&["v1", "requests", id, "events"]))
            .await?;
        let list: EventList = reply.read()?;
        self.tell(&reply, |_| {
            table(&Event::HEADINGS, list.events.iter().map(Event::row))
        })
    }

    async fn status(&mut self) -> Result<(), CliError> {
        let reply = self.session.call(Call::get(&["v1", "me"])).await?;
        let paused = self.session.call(Call::get(&["v1", "paused"])).await?;
        if self.form == Form::Json {
            let (mut all, more): (Map<String, Value>, Map<String, Value>) =
                (reply.read()?, paused.read()?);
            all.extend(more);
            let text = inert_json(&Value::from(all).to_string());
            return Ok(writeln!(self.out, "{text}")?);
        }
        let me: Me = reply.read()?;
        self.tell(&reply, |_| {
            pairs([
                ("you are", me.principal.to_string()),
                ("by token", format!("{} {}", me.token.id, me.token.label)),
                ("valid until", instant(&me.token.expires_at)),
            ])
        })?;
        self.tell_paused(&paused)
    }

    async fn fetch(&self, id: &str) -> Result<(Reply, Request), CliError> {
        let call = Call::get(&["v1", "requests", checked(id)?]);
        let reply = self.session.call(call).await?;
        let request = reply.read()?;
        Ok((reply, request))
    }

    // ---------------------------------------------------------------------------------- deciding

    /// Shows what is decided on, and decides exactly that.
    async fn approve(&mut self, args: &ApproveArgs) -> Result<(), CliError> {
        let (_, shown) = self.fetch(&args.id).await?;
        if self.form != Form::Json {
            let time = match &args.ttl {
                Some(ttl) => format!("{ttl} (asked for: {})", shown.ttl),
                None => shown.ttl.to_string(),
            };
            writeln!(
                self.out,
                "approving {} for {} for {time}",
                shown.what(),
                shown.who()
            )?;
            writeln!(self.out, "because: {}", shown.reason)?;
            if shown.residual_secs > 0 {
                let secs = shown.residual_secs;
                writeln!(
                    self.out,
                    "note: sessions may live on for up to {secs} s after the end"
                )?;
            }
        }
        let mut body = json!({"decision": "approve", "digest": shown.digest.as_str()});
        if let (Some(ttl), Value::Object(fields)) = (&args.ttl, &mut body) {
            fields.insert("ttl".to_owned(), ttl.clone().into());
        }
        self.verb(shown.id.as_str(), "decide", body).await
    }

    async fn deny(&mut self, args: &DenyArgs) -> Result<(), CliError> {
        let (_, shown) = self.fetch(&args.id).await?;
        let digest = shown.digest.as_str();
        let body = json!({"decision": "deny", "digest": digest, "reason": args.reason});
        self.verb(shown.id.as_str(), "decide", body).await
    }

    async fn verb(&mut self, id: &str, verb: &str, body: Value) -> Result<(), CliError> {
        let call = Call::post(&["v1", "requests", checked(id)?, verb], body);
        let reply = self.session.call(call).await?;
        let request: Request = reply.read()?;
        self.tell(&reply, |_| told(&request))
    }

    async fn collect(&mut self, id: &str) -> Result<(), CliError> {
        let call = Call::post(&["v1", "requests", checked(id)?, "collect"], json!({}));
        let reply = self.session.call(call).await?;
        let collected: Collected = reply.read()?;
        let secret = collected.credential.expose_secret();
        match self.form {
            Form::Json => self.tell(&reply, |_| String::new()),
            // Into a pipe goes the credential as it is, and nothing else.
            Form::Plain => Ok(writeln!(self.out, "{secret}")?),
            Form::Terminal => {
                writeln!(self.out, "{}", inert_lines(secret))?;
                self.tell(&reply, |_| told(&collected.request))
            }
        }
    }

    // ---------------------------------------------------------------------------------- revoking

    async fn revoke(&mut self, args: &RevokeArgs) -> Result<Exit, CliError> {
        let body = args
            .reason
            .as_ref()
            .map_or(json!({}), |reason| json!({"reason": reason}));
        if let Some(id) = &args.id {
            self.verb(id, "revoke", body).await?;
            return Ok(Exit::Done);
        }
        let Fitting {
            requests: fitting,
            perhaps_more,
        } = self.fitting(args).await?;
        // What is silently left out is access that stays; what is certain is revoked all the same.
        let rest = || CliError::Failed {
            message: PERHAPS_MORE.to_owned(),
        };
        if fitting.is_empty() && perhaps_more {
            return Err(rest());
        }
        if fitting.is_empty() {
            if self.form != Form::Json {
                writeln!(self.out, "nothing fits, so nothing was revoked")?;
            }
            return Ok(Exit::NotDone);
        }
        if !args.yes {
            if self.form != Form::Json {
                let count = fitting.len();
                writeln!(self.out, "{}", listed(&fitting))?;
                writeln!(
                    self.out,
                    "nothing was done; add --yes to revoke these {count}"
                )?;
            }
            if perhaps_more {
                return Err(rest());
            }
            return Ok(Exit::NotDone);
        }
        let (mut failed, mut unread) = (0, None);
        for request in &fitting {
            let id = request.id.as_str();
            let told = match self.verb(id, "revoke", body.clone()).await {
                Ok(()) => Ok(()),
                Err(CliError::Output(error)) => Err(error),
                Err(error) => {
                    failed += 1;
                    let line = json!({"id": id, "not_revoked": error.to_string()});
                    match self.form {
                        Form::Json => writeln!(self.out, "{line}"),
                        Form::Plain | Form::Terminal => {
                            writeln!(self.out, "{id}: not revoked: {error}")
                        }
                    }
                }
            };
            // Where nobody reads how it goes, the rest is revoked all the same.
            unread = told.err().or(unread);
        }
        let done = fitting.len() - failed;
        if failed > 0 {
            return Err(CliError::Partly { done, failed });
        }
        if let Some(error) = unread {
            return Err(error.into());
        }
        if self.form != Form::Json {
            writeln!(self.out, "{done} revoked")?;
        }
        if perhaps_more {
            return Err(rest());
        }
        Ok(Exit::Done)
    }

    /// Everything that fits and can still be revoked. Without --yes it is also shown as JSON, a
    /// line for each, as the answers are with it.
    async fn fitting(&mut self, args: &RevokeArgs) -> Result<Fitting, CliError> {
        let mut fitting = Fitting::default();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let call = Call::get(&["v1", "requests"]).with(vec![
                ("principal", args.principal.clone()),
                ("entitlement", args.entitlement.clone()),
                ("status", Some(REVOCABLE.to_owned())),
                ("limit", Some(PAGE.to_string())),
                ("after", after),
            ]);
            let reply = self.session.call(call).await?;
            if self.form == Form::Json && !args.yes {
                let Requests { requests } = reply.read()?;
                for request in requests {
                    writeln!(self.out, "{}", inert_json(&request.to_string()))?;
                }
            }
            let page: RequestList = reply.read()?;
            fitting.requests.extend(page.requests);
            fitting.perhaps_more |= page.perhaps_more;
            match page.next {
                Some(next) => after = Some(next.to_string()),
                None => return Ok(fitting),
            }
        }
        let too_many = "too many requests fit; name a principal or an entitlement";
        Err(CliError::BadInput(too_many.to_owned()))
    }

    // --------------------------------------------------------------------------------- operating

    async fn paused(&mut self, call: Call<'_>) -> Result<(), CliError> {
        let reply = self.session.call(call).await?;
        self.tell_paused(&reply)
    }

    fn tell_paused(&mut self, reply: &Reply) -> Result<(), CliError> {
        let Paused { paused } = reply.read()?;
        self.tell(reply, |_| {
            let text = if paused {
                "new access is paused; access that was given still ends on time"
            } else {
                "new access is given"
            };
            text.to_owned()
        })
    }

    /// Shows an answer: as it came, or in words.
    fn tell(
        &mut self,
        reply: &Reply,
        words: impl FnOnce(&Reply) -> String,
    ) -> Result<(), CliError> {
        let text = match self.form {
            Form::Json => inert_json(&reply.text),
            Form::Plain | Form::Terminal => words(reply),
        };
        Ok(writeln!(self.out, "{}", text.trim_end())?)
    }
}

/// What fits what is to be revoked.
#[derive(Debug, Default)]
struct Fitting {
    requests: Vec<Request>,
    perhaps_more: bool,
}

/// A page of requests as the API gave them.
#[derive(Debug, Deserialize)]
struct Requests {
    requests: Vec<Value>,
}

fn told(request: &Request) -> String {
    format!("{}: {}", request.id, request.story())
}

/// What whoever waited is told: how it came out, until when, and how to use it.
fn how_it_came_out(reply: &Reply, request: &Request) -> String {
    let left = request.expires_at.as_ref().zip(reply.now());
    let left = left.and_then(|(at, now)| crate::text::until(at, now));
    let left = left.filter(|_| request.status.as_str() == "active");
    let left = left.map(|left| format!(" ({} left)", crate::text::clock(left)));
    let how = request.how_to_use.as_ref().map(|how| format!("\n{how}"));
    format!(
        "{}{}{}",
        request.story(),
        left.unwrap_or_default(),
        how.unwrap_or_default()
    )
}

fn listed(requests: &[Request]) -> String {
    if requests.is_empty() {
        return "there are none".to_owned();
    }
    table(&Request::HEADINGS, requests.iter().map(Request::row))
}

/// An id as people type it. Anything else would not be one segment of a path.
fn checked(id: &str) -> Result<&str, CliError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=60).contains(&id.len()) && id.bytes().all(plain) {
        return Ok(id);
    }
    let rule = "an id is req- and letters and digits, or the last five or more of them";
    Err(CliError::BadInput(rule.to_owned()))
}

/// `NAME=JSON`, as often as given.
fn parameters(given: &[String]) -> Result<Map<String, Value>, CliError> {
    let mut parameters = Map::new();
    for text in given {
        let bad = |rule: &str| CliError::BadInput(format!("--param {text:?}: {rule}"));
        let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or_else(|| bad("write NAME=JSON"))?;
        let value = serde_json::from_str(value).map_err(|_| {
            bad("the value is not JSON; a text needs its own quotes, as in path='\"/srv\"'")
        })?;
        if parameters.insert(name.to_owned(), value).is_some() {
            return Err(bad("this name is given twice"));
        }
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_json() {
        let read = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            parameters(&given).map_err(|error| error.to_string())
        };
        let both = read(&["a=1", "path=\"/srv=x\""]).unwrap();
        assert_eq!(Value::from(both), json!({"a": 1, "path": "/srv=x"}));
        for bad in [&["a"][..], &["=1"], &["a=srv"], &["a="], &["a=1", "a=2"]] {
            assert!(read(bad).unwrap_err().starts_with("--param"), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_one_plain_word() {
        for good in ["req-01kdvd96m0b9jtb9db9db9db80", "9db80", "REQ-X"] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "a%2fb", "a b", "a?b", &"x".repeat(61)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
