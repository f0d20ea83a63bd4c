//! What really happens in the group file, seen by reading it and by nothing else: neither the
//! store nor the engine is asked.

use std::path::PathBuf;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::Clock;
use jit_runtime::clock::SystemClock;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the file is read.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was seen of one member of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Never there so far.
    NeverThere,
    /// There since it was first seen.
    There {
        /// When that was.
        since: Timestamp,
    },
    /// There before, and not any more.
    Gone {
        /// When that was first seen.
        at: Timestamp,
    },
}

/// Watches a member of a group until it is dropped.
#[derive(Debug)]
pub struct Sightings {
    seen: watch::Receiver<Sight>,
    watching: JoinHandle<()>,
}

impl Sightings {
    /// Begins to watch.
    pub fn of(file: PathBuf, group: &'static str, member: &'static str) -> Self {
        let (tell, seen) = watch::channel(Sight::NeverThere);
        let watching = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                // A file that cannot be read shows nothing, least of all that somebody is gone.
                let Ok(text) = std::fs::read_to_string(&file) else {
                    continue;
                };
                let there = is_member(&text, group, member);
                let now = SystemClock.now();
                tell.send_if_modified(|sight| {
                    let next = match (*sight, there) {
                        (Sight::NeverThere | Sight::Gone { .. }, true) => {
                            Sight::There { since: now }
                        }
                        (Sight::There { .. }, false) => Sight::Gone { at: now },
                        (same, _) => same,
                    };
                    let changed = next != *sight;
                    *sight = next;
                    changed
                });
            }
        });
        Self { seen, watching }
    }

    /// What was seen last.
    pub fn now(&self) -> Sight {
        *self.seen.borrow()
    }

    /// Waits for the next change, at most so long; what was seen last.
    pub async fn next(&mut self, at_most: Duration) -> Sight {
        // Where nothing changes in time, or the watch ended, what was seen last stands.
        let _ = tokio::time::timeout(at_most, self.seen.changed()).await;
        *self.seen.borrow_and_update()
    }
}

impl Drop for Sightings {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn is_member(text: &str, group: &str, member: &str) -> bool {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut ours = lines.filter(|(name, _)| name.trim() == group);
    ours.any(|(_, members)| members.split_whitespace().any(|name| name == member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_a_whole_word_behind_the_name_of_the_group() {
        let text = "# admins: ana\nadmins: anabel root\nreaders: ana\n";
        assert!(!is_member(text, "admins", "ana"));
        assert!(is_member(text, "admins", "root"));
        assert!(is_member(text, "readers", "ana"));
        assert!(!is_member("", "admins", "ana"));
    }
}
