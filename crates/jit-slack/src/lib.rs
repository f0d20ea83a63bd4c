//! Slack: asking, deciding and ending access without leaving the workspace.

mod commands;
mod input;
mod people;
mod surface;
mod text;
mod web;

/// The name of this adapter in errors.
const ADAPTER: &str = "slack";
