//! Lists in pages that `Link` headers lead through, with cursors that only the list they came from
//! understands. <https://developer.okta.com/docs/api/#pagination>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::Request;
use crate::error::OktaError;
use crate::hostile::{Hostility, Stage};
use crate::state::State;

/// How much of a list is shown at once: the most, and how much if nothing is said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) most: usize,
    pub(super) usual: usize,
    pub(super) paging: Paging,
}

impl Sizes {
    /// Pages as big as they may be, each of which leads to the next.
    pub(super) fn linked(most: usize) -> Self {
        Self {
            most,
            usual: most,
            paging: Paging::Linked,
        }
    }

    /// A first page of this size if nothing is said, and no other.
    pub(super) fn first_only(most: usize, usual: usize) -> Self {
        Self {
            most,
            usual: usual.min(most),
            paging: Paging::FirstOnly,
        }
    }
}

/// Whether a page leads to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paging {
    Linked,
    /// What `q` finds cannot be paged.
    FirstOnly,
}

/// One page: the ids on it, and its `Link` headers.
pub(super) struct Page {
    pub(super) ids: Vec<String>,
    pub(super) links: Vec<String>,
}

/// One page of a list. A cursor holds the last id shown, so one that appears or goes between two
/// pages disturbs no other.
pub(super) fn page(
    state: &mut State,
    request: &Request,
    mut ids: Vec<String>,
    sizes: Sizes,
) -> Result<Page, OktaError> {
    let size = match request.parameter("limit") {
        None => sizes.usual,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > 0 => limit,
            _ => return Err(OktaError::invalid("limit", "must be a positive integer")),
        },
    };
    let size = size.min(sizes.most).max(1);
    let question = question(request);
    let after = match request.parameter("after") {
        None => String::new(),
        Some(cursor) => read(cursor, &question)
            .ok_or_else(|| OktaError::invalid("after", "is no cursor of this list"))?,
    };
    ids.sort();
    ids.retain(|id| *id > after);
    let has_more = ids.len() > size && sizes.paging == Paging::Linked;
    ids.truncate(size);
    let last = ids.last().unwrap_or(&after).clone();
    let wrong = state.hostility(Stage::Page, request);
    // A cursor that leads nowhere new is a new one all the same, as an opaque one may be.
    let nonce = || u64::try_from(state.calls.len()).unwrap_or_default();
    let next = match wrong {
        Some(Hostility::RepeatPage) => Some(write(&after, &question, nonce())),
        Some(Hostility::EndlessPages) => Some(write(&last, &question, nonce())),
        Some(Hostility::EmptyPage) => {
            ids.clear();
            Some(write(&after, &question, nonce()))
        }
        _ => has_more.then(|| write(&last, &question, 0)),
    };
    let base = &state.base;
    let mut links = vec![format!("<{base}{}>; rel=\"self\"", request.target)];
    match (wrong, next) {
        (Some(Hostility::NextElsewhere(url)), _) => links.push(format!("<{url}>; rel=\"next\"")),
        (_, Some(cursor)) => {
            let target = following(request, &cursor);
            links.push(format!("<{base}{target}>; rel=\"next\""));
        }
        (_, None) => {}
    }
    Ok(Page { ids, links })
}

/// Where the next page is.
fn following(request: &Request, cursor: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("after", cursor);
    for (name, value) in request.query.iter().filter(|(name, _)| name != "after") {
        query.append_pair(name, value);
    }
    format!("{}?{}", request.path, query.finish())
}

/// What is asked for, apart from where and how much: a cursor is good for the same question only.
fn question(request: &Request) -> String {
    let mut asked: Vec<String> = (request.query.iter())
        .filter(|(name, _)| name != "after" && name != "limit")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    asked.sort();
    let text = format!("{}?{}", request.path, asked.join("&"));
    let digest = digest(&SHA256, text.as_bytes());
    URL_SAFE_NO_PAD
        .encode(digest.as_ref())
        .chars()
        .take(12)
        .collect()
}

fn write(last: &str, question: &str, nonce: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{question}:{nonce}:{last}"))
}

fn read(cursor: &str, question: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let mut parts = text.splitn(3, ':');
    let (of, _, last) = (parts.next()?, parts.next()?, parts.next()?);
    (of == question).then(|| last.to_owned())
}
