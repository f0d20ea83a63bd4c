//! Whose policy it is: a user, a role of one person's own, or one session of a role that many have.
//! How they are written down in people's subjects, and in targets.

use jit_core::principal::Subject;

use crate::trouble::Trouble;

/// The longest name of a role or user, and of a session ("IAM and AWS STS quotas"; "AssumeRole", STS
/// API Reference).
const NAME_LIMIT: usize = 64;

/// Who is meant, before AWS was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `user/NAME`.
    User(String),
    /// `role/NAME`.
    Role(String),
    /// `role/NAME:SESSION`.
    Session { role: String, session: String },
}

/// Whose policy it is, as a target says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// `user/NAME`.
    User(String),
    /// `role/NAME`.
    Role(String),
    /// `role/NAME/AROA…:SESSION`: the role, and what `aws:userid` is in the session.
    Session { role: String, user_id: String },
}

impl Asked {
    /// Reads a person's subject.
    pub(crate) fn read(subject: &str) -> Result<Self, Trouble> {
        let asked = match subject.split_once('/') {
            Some(("user", name)) => Self::User(name.to_owned()),
            Some(("role", rest)) => match rest.split_once(':') {
                Some((role, session)) => Self::Session {
                    role: role.to_owned(),
                    session: session.to_owned(),
                },
                None => Self::Role(rest.to_owned()),
            },
            _ => return Err(Trouble::BadSubject),
        };
        let names: &[&String] = match &asked {
            Self::User(name) | Self::Role(name) => &[name],
            Self::Session { role, session } => &[role, session],
        };
        if !names.iter().all(|it| is_name(it)) {
            return Err(Trouble::BadSubject);
        }
        asked.checked()
    }

    /// Somebody's session of the role that all have.
    pub(crate) fn session_of(role: &str, person: &str) -> Result<Self, Trouble> {
        if !is_name(person) {
            return Err(Trouble::NoSession);
        }
        let (role, session) = (role.to_owned(), person.to_owned());
        Self::Session { role, session }.checked()
    }

    /// A name of one character is a name of a role, and none of a session.
    fn checked(self) -> Result<Self, Trouble> {
        match &self {
            Self::Session { session, .. } if session.len() < 2 => Err(Trouble::BadSubject),
            _ => Ok(self),
        }
    }
}

impl Owner {
    /// Reads a target's subject.
    pub(crate) fn read(subject: &Subject) -> Result<Self, Trouble> {
        let mut parts = subject.as_str().splitn(3, '/');
        let owner = match (parts.next(), parts.next(), parts.next()) {
            (Some("user"), Some(name), None) => Self::User(name.to_owned()),
            (Some("role"), Some(name), None) => Self::Role(name.to_owned()),
            (Some("role"), Some(role), Some(user_id)) => Self::Session {
                role: role.to_owned(),
                user_id: user_id.to_owned(),
            },
            _ => return Err(Trouble::BadRecord),
        };
        let is_sound = match &owner {
            Self::User(name) | Self::Role(name) => is_name(name),
            Self::Session { role, user_id } => {
                let parts = user_id.split_once(':');
                is_name(role) && parts.is_some_and(|(id, session)| is_name(id) && is_name(session))
            }
        };
        is_sound.then_some(owner).ok_or(Trouble::BadRecord)
    }

    pub(crate) fn to_subject(&self) -> Result<Subject, Trouble> {
        let text = match self {
            Self::User(name) => format!("user/{name}"),
            Self::Role(name) => format!("role/{name}"),
            Self::Session { role, user_id } => format!("role/{role}/{user_id}"),
        };
        text.parse().map_err(|_| Trouble::BadRecord)
    }

    /// The `aws:userid` that tells it from others who have the same role.
    pub(crate) fn user_id(&self) -> Option<&str> {
        match self {
            Self::Session { user_id, .. } => Some(user_id),
            Self::User(_) | Self::Role(_) => None,
        }
    }
}

/// `[\w+=,.@-]{1,64}`, as names of roles, users and sessions are ("CreateRole", IAM API Reference).
pub(crate) fn is_name(text: &str) -> bool {
    let may_stand = |it: char| it.is_ascii_alphanumeric() || "_+=,.@-".contains(it);
    (1..=NAME_LIMIT).contains(&text.len()) && text.chars().all(may_stand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_and_nothing_else() {
        let read = |text: &str| Asked::read(text).ok();
        assert_eq!(read("user/ana"), Some(Asked::User("ana".to_owned())));
        assert_eq!(read("role/ana"), Some(Asked::Role("ana".to_owned())));
        let session = Asked::Session {
            role: "developers".to_owned(),
            session: "ana@example.com".to_owned(),
        };
        assert_eq!(read("role/developers:ana@example.com"), Some(session));
        for text in [
            "",
            "ana",
            "group/ana",
            "user/",
            "user/a b",
            "user/a*",
            "user/ana:x",
            "role/x:y:z",
            "role/developers:a",
            "role/developers/AROA:ana",
            "role/:ana",
            &format!("user/{}", "a".repeat(65)),
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_stored_subject_is_read_as_it_was_written() {
        for text in [
            "user/ana",
            "role/ana",
            "role/developers/AROAX:ana@example.com",
        ] {
            let owner = Owner::read(&text.parse().unwrap()).unwrap();
            assert_eq!(owner.to_subject().unwrap().as_str(), text);
        }
        for text in [
            "ana",
            "role/developers/AROAX",
            "role/a/b:c/d",
            "user/a/b",
            "role//x:y",
        ] {
            assert!(Owner::read(&text.parse().unwrap()).is_err(), "{text}");
        }
    }
}
