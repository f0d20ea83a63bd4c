//! Each rule of the simulated Bot API, on both sides of each limit.

#![cfg(test)]

mod clicks;
mod client;
mod messages;
mod trouble;
mod updates;
