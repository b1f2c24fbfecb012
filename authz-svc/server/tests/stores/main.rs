//! One suite for every store of sessions: the same commands, the same answers. Servers are real, in
//! every way that Redis is run: alone, with users, over TLS, on a socket, with Sentinels, as a
//! cluster; and they are killed, paused and restarted.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod faults;
mod suite;
