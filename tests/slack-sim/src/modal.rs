//! A modal as the person in front of it uses it: fill, choose, submit; and what Slack's window
//! refuses before the app hears of it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::api::{checked_view, named_view};
use crate::blocks::{all_options, suggestion_problems};
use crate::deliver::Outcome;
use crate::gesture::{self, CannotDo, Choice, cannot, chosen, offered};
use crate::messages::elements;
use crate::state::{Inner, State};
use crate::views::DEEPEST;

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// The modal closed.
    Closed,
    /// It stays open with a line under these inputs, by block id.
    Errors(BTreeMap<String, String>),
    /// It stays open and shows something else.
    Updated(Modal),
    /// Another modal lies on top of it.
    Pushed(Modal),
    /// It stays open with Slack's own error.
    SawError,
}

/// What a modal showed, each rendering kept so that references to it stay good.
#[derive(Debug)]
struct Seen {
    view: Value,
    next: OnceLock<Box<Seen>>,
}

impl Seen {
    fn new(view: Value) -> Self {
        Self {
            view,
            next: OnceLock::new(),
        }
    }
}

/// One modal on somebody's screen.
#[derive(Debug)]
pub struct Modal {
    inner: Arc<Inner>,
    user: String,
    id: String,
    seen: Seen,
}

/// What Slack writes under an input that was left empty.
pub const REQUIRED: &str = "Please complete this required field.";

impl Modal {
    pub(crate) fn new(inner: Arc<Inner>, user: &str, id: &str) -> Self {
        let view = current(&inner, id).unwrap_or(Value::Null);
        Self {
            inner,
            user: user.to_owned(),
            id: id.to_owned(),
            seen: Seen::new(view),
        }
    }

    /// Slack's id of the view.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The view as it is now, with its state; the last one seen once it is closed.
    pub fn view(&self) -> &Value {
        let mut last = &self.seen;
        while let Some(next) = last.next.get() {
            last = next;
        }
        match current(&self.inner, &self.id) {
            Some(now) if now != last.view => {
                &last.next.get_or_init(|| Box::new(Seen::new(now))).view
            }
            _ => &last.view,
        }
    }

    /// Whether it is still on the screen.
    pub fn is_open(&self) -> bool {
        self.inner.look(|state| state.views.get(&self.id).is_some())
    }

    /// What the app offers for a search in an `external_select`; nothing if it failed.
    pub async fn options(&self, field: &str, query: &str) -> Vec<Value> {
        self.try_options(field, query)
            .await
            .unwrap_or_else(|why| refuse(&why))
    }

    /// Chooses an option by its value or label.
    pub async fn pick(&self, field: &str, value: &str) -> Outcome {
        self.try_pick(field, value)
            .await
            .unwrap_or_else(|why| refuse(&why))
    }

    /// Types into a text input, replacing what is there.
    pub fn fill(&self, field: &str, text: &str) {
        self.try_fill(field, text)
            .unwrap_or_else(|why| refuse(&why));
    }

    /// Clicks a button.
    pub async fn click(&self, name: &str) -> Outcome {
        self.try_click(name)
            .await
            .unwrap_or_else(|why| refuse(&why))
    }

    /// Submits it.
    pub async fn submit(&self) -> Submitted {
        self.try_submit().await.unwrap_or_else(|why| refuse(&why))
    }

    /// Closes it with its button.
    pub async fn close(&self) {
        self.try_close().await.unwrap_or_else(|why| refuse(&why));
    }

    /// As [`Modal::options`], saying why it cannot be done.
    pub async fn try_options(&self, field: &str, query: &str) -> Result<Vec<Value>, CannotDo> {
        let (block, element) = self.field(field)?;
        let least = element["min_query_length"].as_u64().unwrap_or(3);
        if !element["type"]
            .as_str()
            .is_some_and(|it| it.ends_with("external_select"))
        {
            return cannot(format!("{field} has its own options"));
        }
        if u64::try_from(query.chars().count()).is_ok_and(|it| it < least) {
            return cannot(format!("{field} searches from {least} letters on"));
        }
        let (block, action) = (text(&block["block_id"]), text(&element["action_id"]));
        let asked = (block.as_str(), action.as_str(), query);
        let outcome = gesture::suggest(&self.inner, &self.user, &self.id, asked).await?;
        let Outcome::Acked { payload, .. } = outcome else {
            return Ok(vec![]);
        };
        let answer = payload.unwrap_or_else(|| json!({}));
        let problems = suggestion_problems(&answer);
        if !problems.is_empty() {
            self.inner
                .violation(format!("the options of {field}: {}", problems.join("; ")));
            self.inner.saw_error(format!(
                "{} searched in {field}: no result loaded",
                self.user
            ));
            return Ok(vec![]);
        }
        let options: Vec<Value> = all_options(&answer).into_iter().cloned().collect();
        self.remember(&action, &options);
        Ok(options)
    }

    /// As [`Modal::pick`], saying why it cannot be done.
    pub async fn try_pick(&self, field: &str, value: &str) -> Result<Outcome, CannotDo> {
        let (block, element) = self.field(field)?;
        let external = element["type"]
            .as_str()
            .is_some_and(|it| it.ends_with("external_select"));
        let option = if external {
            Some(self.found(field, &element, value).await?)
        } else {
            None
        };
        let choice = Choice::One(value.to_owned(), option);
        let Some((key, value)) = chosen(&element, &choice)? else {
            return cannot(format!("{field} is a button: click it"));
        };
        self.set(&block, &element, (key, value))?;
        if block["type"] == "input" && block["dispatch_action"] != true {
            return Ok(Outcome::quiet());
        }
        let mut done = self
            .inner
            .with(|state| gesture::action(state, &block, &element, &choice))?;
        // Of several choices the app hears all.
        let (block, action) = (text(&block["block_id"]), text(&element["action_id"]));
        if let Some(now) = current(&self.inner, &self.id) {
            done[key] = now["state"]["values"][block][action][key].clone();
        }
        gesture::view_action(&self.inner, &self.user, &self.id, done).await
    }

    /// An option the app offers: from the last search, from an empty one, or from one for it.
    async fn found(&self, field: &str, element: &Value, value: &str) -> Result<Value, CannotDo> {
        let action = text(&element["action_id"]);
        let before = self.remembered(&action);
        if let Ok(option) = offered(&json!({"options": before}), value) {
            return Ok(option);
        }
        let least = element["min_query_length"].as_u64().unwrap_or(3);
        if least == 0 {
            let first = self.try_options(field, "").await?;
            if let Ok(option) = offered(&json!({"options": first}), value) {
                return Ok(option);
            }
        }
        let second = self.try_options(field, value).await?;
        offered(&json!({"options": second}), value)
    }

    fn remember(&self, action: &str, options: &[Value]) {
        let place = (self.id.clone(), action.to_owned());
        self.inner
            .with(|state| state.offered.insert(place, options.to_vec()));
    }

    fn remembered(&self, action: &str) -> Vec<Value> {
        let place = (self.id.clone(), action.to_owned());
        self.inner
            .look(|state| state.offered.get(&place).cloned())
            .unwrap_or_default()
    }

    /// As [`Modal::fill`], saying why it cannot be done.
    pub fn try_fill(&self, field: &str, typed: &str) -> Result<(), CannotDo> {
        let (block, element) = self.field(field)?;
        if !element["type"]
            .as_str()
            .is_some_and(|it| it.ends_with("_input"))
        {
            return cannot(format!("{field} takes no typing"));
        }
        let most = element["max_length"].as_u64().unwrap_or(3000);
        if u64::try_from(typed.chars().count()).is_ok_and(|it| it > most) {
            return cannot(format!("{field} takes at most {most} characters"));
        }
        let value = if typed.is_empty() {
            Value::Null
        } else {
            json!(typed)
        };
        self.set(&block, &element, ("value", value))
    }

    /// Takes one choice of many back, without telling the app.
    pub fn unpick(&self, field: &str, value: &str) {
        self.try_unpick(field, value)
            .unwrap_or_else(|why| refuse(&why));
    }

    /// As [`Modal::unpick`], saying why it cannot be done.
    pub fn try_unpick(&self, field: &str, value: &str) -> Result<(), CannotDo> {
        let (block, element) = self.field(field)?;
        let (block, action) = (text(&block["block_id"]), text(&element["action_id"]));
        self.inner.with(|state| {
            let Some(view) = state.views.get_mut(&self.id) else {
                return cannot("the modal is closed");
            };
            for chosen in view.values[block][action]
                .as_object_mut()
                .into_iter()
                .flatten()
            {
                if let Some(items) = chosen.1.as_array_mut() {
                    items.retain(|it| it["value"] != value && it != value);
                }
            }
            Ok(())
        })
    }

    /// As [`Modal::click`], saying why it cannot be done.
    pub async fn try_click(&self, name: &str) -> Result<Outcome, CannotDo> {
        let (block, element) = self.field(name)?;
        if element["type"] != "button" {
            return cannot(format!("{name} is no button"));
        }
        let done = self
            .inner
            .with(|state| gesture::action(state, &block, &element, &Choice::Nothing))?;
        gesture::view_action(&self.inner, &self.user, &self.id, done).await
    }

    /// As [`Modal::submit`], saying why it cannot be done.
    pub async fn try_submit(&self) -> Result<Submitted, CannotDo> {
        let missing = self.inner.look(|state| {
            if state
                .views
                .top(&self.user)
                .is_none_or(|it| it.id != self.id)
            {
                return cannot("the modal is not on top");
            }
            incomplete(state, &self.id)
        })?;
        if !missing.is_empty() {
            return Ok(Submitted::Errors(missing));
        }
        let outcome =
            gesture::view_event(&self.inner, "view_submission", &self.user, &self.id).await?;
        let Outcome::Acked { payload, .. } = outcome else {
            return Ok(Submitted::SawError);
        };
        let answer = payload.unwrap_or_else(|| json!({}));
        match self.inner.with(|state| self.answered(state, &answer)) {
            Ok(Next::Closed) => Ok(Submitted::Closed),
            Ok(Next::Errors(errors)) => Ok(Submitted::Errors(errors)),
            Ok(Next::Same) => Ok(Submitted::Updated(self.of(&self.id))),
            Ok(Next::Above(id)) => Ok(Submitted::Pushed(self.of(&id))),
            Err(why) => {
                self.inner
                    .violation(format!("the answer to a submission: {why}"));
                self.inner
                    .saw_error(format!("{} submitted: {why}", self.user));
                Ok(Submitted::SawError)
            }
        }
    }

    fn of(&self, id: &str) -> Self {
        Self::new(self.inner.clone(), &self.user, id)
    }

    fn answered(&self, state: &mut State, answer: &Value) -> Result<Next, String> {
        let user = self.user.as_str();
        let sent = |state: &mut State| {
            let view = answer["view"].clone();
            checked_view(&view, "modal").map_err(|it| format!("{it:?}"))?;
            let view = named_view(state, view);
            Ok::<_, String>((view, state.fresh("V"), state.fresh("h.")))
        };
        match answer["response_action"].as_str() {
            None => {
                if answer.as_object().is_none_or(|it| !it.is_empty()) {
                    state
                        .violations
                        .push(format!("a submission was answered {answer}"));
                }
                state.views.close_top(user);
                Ok(Next::Closed)
            }
            Some("clear") => {
                state.views.clear(user);
                Ok(Next::Closed)
            }
            Some("errors") => {
                let inputs = state
                    .views
                    .get(&self.id)
                    .map(|it| it.inputs())
                    .unwrap_or_default();
                let errors = answer["errors"]
                    .as_object()
                    .ok_or("errors is not an object")?;
                if errors.is_empty() {
                    return Err("errors is empty".to_owned());
                }
                if let Some(key) = errors.keys().find(|key| !inputs.contains(&key.as_str())) {
                    return Err(format!("{key} is no input block of the view"));
                }
                let line = |(key, it): (&String, &Value)| (key.clone(), text(it));
                Ok(Next::Errors(errors.iter().map(line).collect()))
            }
            Some("update") => {
                let (view, _, hash) = sent(state)?;
                state
                    .views
                    .update(&self.id, &hash, view)
                    .ok_or("the view is gone")?;
                Ok(Next::Same)
            }
            Some("push") => {
                let (view, id, hash) = sent(state)?;
                if state.views.depth(user) >= DEEPEST {
                    return Err("push_limit_reached".to_owned());
                }
                state.views.push(user, &id, &hash, view);
                Ok(Next::Above(id))
            }
            Some(other) => Err(format!("unknown response_action {other}")),
        }
    }

    /// As [`Modal::close`], saying why it cannot be done.
    pub async fn try_close(&self) -> Result<(), CannotDo> {
        let told = self.inner.look(|state| match state.views.top(&self.user) {
            Some(top) if top.id == self.id => Ok(top.body["notify_on_close"] == true),
            _ => cannot("the modal is not on top"),
        })?;
        if told {
            gesture::view_event(&self.inner, "view_closed", &self.user, &self.id).await?;
        }
        self.inner.with(|state| state.views.close_top(&self.user));
        Ok(())
    }

    /// A block and its element by action id, block id or label.
    fn field(&self, name: &str) -> Result<(Value, Value), CannotDo> {
        let view = current(&self.inner, &self.id);
        let Some(view) = view else {
            return cannot("the modal is closed");
        };
        let none = vec![];
        let all = elements(view["blocks"].as_array().unwrap_or(&none));
        let tests: [fn(&Value, &Value, &str) -> bool; 3] = [
            |_, element, name| element["action_id"] == name,
            |block, _, name| block["block_id"] == name,
            |block, element, name| {
                block["label"]["text"] == name || element["text"]["text"] == name
            },
        ];
        for test in tests {
            if let Some((block, element)) = all.iter().find(|(b, e)| test(b, e, name)) {
                return Ok(((*block).clone(), (*element).clone()));
            }
        }
        let names: Vec<&str> = all
            .iter()
            .filter_map(|(_, it)| it["action_id"].as_str())
            .collect();
        cannot(format!("the modal has no {name}, only {names:?}"))
    }

    fn set(
        &self,
        block: &Value,
        element: &Value,
        (key, value): (&str, Value),
    ) -> Result<(), CannotDo> {
        self.inner.with(|state| {
            let Some(view) = state.views.get_mut(&self.id) else {
                return cannot("the modal is closed");
            };
            let (block, action) = (text(&block["block_id"]), text(&element["action_id"]));
            let slot = &mut view.values[block][action];
            let mut value = value;
            if let (Some(before), Some(new)) = (slot[key].as_array(), value.as_array()) {
                let more = new.iter().filter(|it| !before.contains(it));
                value = before.iter().chain(more).cloned().collect();
            }
            slot[key] = value;
            Ok(())
        })
    }
}

/// What a submission led to.
enum Next {
    Closed,
    Errors(BTreeMap<String, String>),
    Same,
    Above(String),
}

/// What Slack's window itself finds missing, by block id.
fn incomplete(state: &State, id: &str) -> Result<BTreeMap<String, String>, CannotDo> {
    let Some(view) = state.views.get(id) else {
        return cannot("the modal is closed");
    };
    if view.body.get("submit").is_none() {
        return cannot("the modal has no submit button");
    }
    if view.body["submit_disabled"] == true {
        return cannot("the submit button is disabled");
    }
    let mut missing = BTreeMap::new();
    for block in view.body["blocks"].as_array().into_iter().flatten() {
        if block["type"] != "input" {
            continue;
        }
        let element = &block["element"];
        let (id, action) = (text(&block["block_id"]), text(&element["action_id"]));
        let held = view.values[&id][&action].as_object();
        let held = held.and_then(|it| it.iter().find(|(key, _)| *key != "type"));
        let length = match held.map(|(_, it)| it) {
            Some(Value::String(it)) => it.chars().count(),
            Some(Value::Array(it)) => it.len(),
            Some(Value::Null) | None => 0,
            Some(_) => 1,
        };
        let least = element["min_length"]
            .as_u64()
            .and_then(|it| usize::try_from(it).ok());
        let least = least.unwrap_or(0);
        if length == 0 && block["optional"] != true {
            missing.insert(id, REQUIRED.to_owned());
        } else if length > 0 && length < least {
            missing.insert(id, format!("Please enter at least {least} characters."));
        }
    }
    Ok(missing)
}

fn current(inner: &Inner, id: &str) -> Option<Value> {
    inner.look(|state| {
        let it = &state.workspace;
        state
            .views
            .get(id)
            .map(|view| view.json(&it.team, &it.app, &it.bot_id))
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A test asked a person to do what Slack's window does not let them do.
#[expect(
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]
pub(crate) fn refuse(why: &CannotDo) -> ! {
    panic!("Slack would not let them: {why}")
}
