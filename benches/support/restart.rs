//! A server that is killed and started again.

use crate::support::fleet::{Fleet, serve};

impl Fleet {
    /// Kills the server, and starts it again where it was; returns when it is ready.
    pub fn restart(self) -> Self {
        let Self {
            folder,
            endpoint,
            server,
        } = self;
        // What is dropped is killed.
        drop(server);
        let (endpoint, server) = serve(folder.path(), &endpoint);
        Self {
            folder,
            endpoint,
            server,
        }
    }
}
