//! The verbs against a real server on loopback, over a real engine on a store in memory.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod story;
#[cfg(test)]
mod town;
#[cfg(test)]
mod verbs;
#[cfg(test)]
#[path = "../../../jit-http/tests/it/world/mod.rs"]
mod world;
