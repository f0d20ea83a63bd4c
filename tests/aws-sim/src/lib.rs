//! A simulated AWS organization on loopback, hostile on demand.
