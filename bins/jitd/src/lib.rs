//! What `jitd` can do beside serving: the demonstration. The service itself is in `jit-runtime`.

#![warn(missing_docs)]

pub mod demo;
