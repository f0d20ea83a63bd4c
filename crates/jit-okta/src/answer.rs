//! What an answer of Okta says beside its body: how it went, what its counters show, and where a list
//! goes on. No word of Okta's about people is kept.

use std::time::Duration;

use jit_core::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::trouble::Trouble;

/// The shortest and the longest that Okta is left alone, whatever it says. Its counters run for a
/// minute ("Rate limits").
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest error code or id that is kept of an answer.
const WORD_LIMIT: usize = 40;

/// An answer that came in full.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// What a successful answer holds.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| Trouble::Unreadable {
            line: error.line(),
            column: error.column(),
        })
    }

    /// Okta's own names for what went wrong.
    pub(crate) fn refusal(&self) -> Refusal {
        serde_json::from_slice::<Refusal>(&self.body)
            .unwrap_or_default()
            .plain()
    }

    /// Where the list goes on: the target of `rel="next"`, not checked yet.
    pub(crate) fn next(&self) -> Option<&str> {
        let lines = self.headers.get_all(LINK).iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .find_map(next_of)
    }

    pub(crate) fn counters(&self, now: Timestamp) -> Counters {
        Counters::of(&self.headers, now)
    }
}

/// The error object of the API ("Okta API error codes"), without its sentences: they repeat logins
/// and e-mail addresses.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Refusal {
    /// `E0000007`.
    #[serde(rename = "errorCode")]
    pub(crate) code: Option<String>,
    /// By which Okta's support finds it.
    #[serde(rename = "errorId")]
    pub(crate) id: Option<String>,
    /// `invalid_client`: what the token endpoint says instead (RFC 6749, section 5.2).
    #[serde(rename = "error")]
    pub(crate) token_error: Option<String>,
}

impl Refusal {
    /// Only words that can be nothing but a code or an id.
    fn plain(self) -> Self {
        let plain = |word: Option<String>| {
            word.filter(|word| {
                word.len() <= WORD_LIMIT
                    && word
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            })
        };
        Self {
            code: plain(self.code),
            id: plain(self.id),
            token_error: plain(self.token_error),
        }
    }
}

/// What Okta's counters show ("Rate limit headers").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) limit: Option<u64>,
    pub(crate) remaining: Option<u64>,
    /// From now on until they begin anew, between 1 and 60 s.
    pub(crate) reset_in: Duration,
}

/// What Okta has left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Less than a quarter, for so long.
    Little(Duration),
    Enough,
}

impl Counters {
    /// The reset is a second since 1970 by Okta's clock, so it is held against the date of the same
    /// answer; only where there is none against our own. Wherever it leads, it is bounded.
    fn of(headers: &HeaderMap, now: Timestamp) -> Self {
        let number = |name: &str| {
            let text = headers.get(name)?.to_str().ok()?;
            text.trim().parse::<u64>().ok()
        };
        let here = jit_wire::date(headers).unwrap_or(now);
        let reset = number("x-rate-limit-reset").map(|seconds| {
            let micros = i64::try_from(seconds.saturating_mul(1_000_000));
            Timestamp::from_unix_micros(micros.unwrap_or(i64::MAX))
        });
        let limit = number("x-rate-limit-limit");
        let wait = match (limit, reset) {
            // Too many calls at once, not too many in a minute: that passes as soon as some of them
            // end, and the reset is an estimate of Okta's.
            (Some(0), _) | (_, None) => PAUSE_MIN,
            (_, Some(reset)) => reset.since(here),
        };
        Self {
            limit,
            remaining: number("x-rate-limit-remaining"),
            reset_in: wait.clamp(PAUSE_MIN, PAUSE_MAX),
        }
    }

    /// Whether less than a quarter is left, and for how long; none where this does not say so, as in
    /// the answer of whatever stands before Okta, or of the limit on concurrent calls.
    pub(crate) fn left(&self) -> Option<Left> {
        let limit = self.limit.filter(|limit| *limit > 0)?;
        Some(match self.remaining?.saturating_mul(4) < limit {
            true => Left::Little(self.reset_in),
            false => Left::Enough,
        })
    }
}

/// The target of `rel="next"` in one `Link` line, which may hold several links (RFC 8288).
fn next_of(line: &str) -> Option<&str> {
    let mut rest = line;
    loop {
        let (_, from) = rest.split_once('<')?;
        let (target, after) = from.split_once('>')?;
        // A comma ends the parameters of this link; Okta quotes none that holds one.
        let (parameters, more) = after.split_once(',').unwrap_or((after, ""));
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
        });
        if is_next {
            return Some(target);
        }
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    const NOW: i64 = 1_800_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        };
        pairs.iter().map(pair).collect()
    }

    fn reset_in(pairs: &[(&'static str, &str)]) -> Duration {
        let now = Timestamp::from_unix_micros(NOW * 1_000_000);
        Counters::of(&headers(pairs), now).reset_in
    }

    #[test]
    fn a_reset_is_bounded_wherever_it_leads() {
        let at = |seconds: i64| (NOW + seconds).to_string();
        let by_our_clock = |value: &str| reset_in(&[("x-rate-limit-reset", value)]);
        assert_eq!(by_our_clock(&at(17)), Duration::from_secs(17));
        assert_eq!(by_our_clock(&at(0)), PAUSE_MIN);
        assert_eq!(by_our_clock(&at(-3_600)), PAUSE_MIN, "in the past");
        assert_eq!(by_our_clock(&at(3_600)), PAUSE_MAX, "an hour away");
        for garbage in ["", "soon", "-1", "1e9", "99999999999999999999999"] {
            assert_eq!(by_our_clock(garbage), PAUSE_MIN, "{garbage:?}");
        }
        let endless = u64::MAX.to_string();
        assert_eq!(by_our_clock(&endless), PAUSE_MAX);
        assert_eq!(reset_in(&[]), PAUSE_MIN, "missing");
        let at_once = [
            ("x-rate-limit-limit", "0"),
            ("x-rate-limit-remaining", "0"),
            ("x-rate-limit-reset", &at(60)),
        ];
        assert_eq!(reset_in(&at_once), PAUSE_MIN, "too many calls at once");
    }

    #[test]
    fn a_reset_is_counted_from_the_date_of_its_answer() {
        // 1,800,000,000 is this date; the clocks here and there are an hour apart.
        let date = "Fri, 15 Jan 2027 08:00:00 GMT";
        let seconds = Duration::from_secs;
        let wait = reset_in(&[
            ("date", date),
            ("x-rate-limit-reset", &(NOW + 20).to_string()),
        ]);
        assert_eq!(wait, seconds(20));
        let there = Timestamp::from_unix_micros((NOW - 3_600) * 1_000_000);
        let pairs = headers(&[
            ("date", date),
            ("x-rate-limit-reset", &(NOW + 20).to_string()),
        ]);
        assert_eq!(Counters::of(&pairs, there).reset_in, seconds(20));
        let broken = reset_in(&[
            ("date", "yesterday"),
            ("x-rate-limit-reset", &(NOW + 20).to_string()),
        ]);
        assert_eq!(broken, seconds(20), "then by our own clock");
    }

    #[test]
    fn less_than_a_quarter_is_little_and_no_counter_is_none() {
        let low = |pairs: &[(&'static str, &str)]| {
            let now = Timestamp::from_unix_micros(NOW * 1_000_000);
            let left = Counters::of(&headers(pairs), now).left();
            matches!(left, Some(Left::Little(_)))
        };
        let of = |limit, left| {
            low(&[
                ("x-rate-limit-limit", limit),
                ("x-rate-limit-remaining", left),
            ])
        };
        assert!(of("600", "149"));
        assert!(!of("600", "150"));
        assert!(!of("0", "0"), "the counters of a concurrent limit");
        assert!(!low(&[("x-rate-limit-remaining", "0")]));
        assert!(!of("600", "none"));
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let next = "https://example.okta.com/api/v1/groups/00g1/users?after=1_a&limit=200";
        let line = |text: &str| next_of(text).map(str::to_owned);
        let both = format!("<https://example.okta.com/x>; rel=\"self\", <{next}>; rel=\"next\"");
        assert_eq!(line(&both).as_deref(), Some(next));
        assert_eq!(line(&format!("<{next}>;rel=next")).as_deref(), Some(next));
        assert_eq!(line("<https://example.okta.com/x>; rel=\"self\""), None);
        for garbage in ["", "<", ">", "<<>>,", "next", "<a>; rel=\"nextish\""] {
            assert_eq!(line(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn no_word_about_people_is_kept_of_a_refusal() {
        let said = |body: &str| Answer {
            status: StatusCode::NOT_FOUND,
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec().into(),
        };
        let plain = said(
            r#"{"errorCode":"E0000007","errorSummary":"Not found: ana@example.com","errorId":"oae1"}"#,
        );
        let refusal = plain.refusal();
        assert_eq!(refusal.code.as_deref(), Some("E0000007"));
        assert_eq!(refusal.id.as_deref(), Some("oae1"));
        assert!(!format!("{refusal:?}").contains("ana"));
        let odd = said(r#"{"errorCode":"ana@example.com","errorId":"<b>"}"#);
        assert_eq!(odd.refusal(), Refusal::default());
        assert_eq!(said("<html>").refusal(), Refusal::default());
    }
}
