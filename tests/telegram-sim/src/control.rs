//! The control API under `/sim/`: what tests in other processes and languages use. It does what the
//! methods of [`World`] do, and takes and gives JSON.
//!
//! - `POST /sim/people` with `{"id", "name"}`; `/sim/groups` with `{"id", "title", "members"}`.
//! - `GET /sim/messages/{chat}`, `/sim/calls`, `/sim/answers/{click}`.
//! - `POST /sim/press` with `{"person", "chat", "message", "text"}`: answers `{"click"}`.
//! - `POST /sim/delete` with `{"chat", "message"}`.
//! - `POST /sim/fail` with `{"method", "fault": {"do", …}, "times": "always" or {"next": 1}}`;
//!   `/sim/calm` ends all of it.

use axum::Json;
use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use crate::faults::{Fault, Times};
use crate::state::{Call, Message};
use crate::world::World;

pub(crate) fn router() -> Router<World> {
    Router::new()
        .route("/sim/people", post(people))
        .route("/sim/groups", post(groups))
        .route("/sim/messages/{chat}", get(messages))
        .route("/sim/calls", get(calls))
        .route("/sim/answers/{click}", get(answers))
        .route("/sim/press", post(press))
        .route("/sim/delete", post(delete))
        .route("/sim/fail", post(fail))
        .route("/sim/calm", post(calm))
}

#[derive(Deserialize)]
struct NewPerson {
    id: i64,
    name: String,
}

async fn people(Shared(world): Shared<World>, Json(new): Json<NewPerson>) {
    world.add_person(new.id, &new.name);
}

#[derive(Deserialize)]
struct NewGroup {
    id: i64,
    title: String,
    members: Vec<i64>,
}

async fn groups(Shared(world): Shared<World>, Json(new): Json<NewGroup>) {
    world.add_group(new.id, &new.title, &new.members);
}

async fn messages(Shared(world): Shared<World>, Path(chat): Path<i64>) -> Json<Vec<Message>> {
    Json(world.messages(chat))
}

async fn calls(Shared(world): Shared<World>) -> Json<Vec<Call>> {
    Json(world.calls())
}

async fn answers(Shared(world): Shared<World>, Path(click): Path<String>) -> Response {
    match world.answer(&click) {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Deserialize)]
struct Press {
    person: i64,
    chat: i64,
    message: i64,
    text: String,
}

async fn press(Shared(world): Shared<World>, Json(it): Json<Press>) -> Response {
    match world.press(it.person, it.chat, it.message, &it.text) {
        Ok(click) => Json(json!({"click": click})).into_response(),
        Err(why) => (StatusCode::CONFLICT, format!("{why:?}")).into_response(),
    }
}

#[derive(Deserialize)]
struct Deleted {
    chat: i64,
    message: i64,
}

async fn delete(Shared(world): Shared<World>, Json(it): Json<Deleted>) {
    world.delete(it.chat, it.message);
}

#[derive(Deserialize)]
struct Failing {
    method: String,
    fault: Fault,
    times: Times,
}

async fn fail(Shared(world): Shared<World>, Json(it): Json<Failing>) {
    world.fail(&it.method, it.fault, it.times);
}

async fn calm(Shared(world): Shared<World>) {
    world.calm();
}
