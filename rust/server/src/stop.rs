//! How far a server has stopped.

use tokio::sync::watch;

use crate::error::{ApiError, Problem};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Running,
    Draining,
    Ending,
}

/// The phases of a server's end: first it takes nothing more, then it ends what still runs.
pub(crate) struct Stop(watch::Sender<Phase>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }
}

/// What requests are told that come too late, or take too long.
pub(crate) fn stopping() -> ApiError {
    ApiError::new(Problem::Unavailable, "the server is stopping; try again when it is back")
}

impl Stop {
    /// Takes nothing more.
    pub(crate) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends what still runs.
    pub(crate) fn end(&self) {
        self.advance(Phase::Ending);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Waits until nothing more is taken.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until what still runs must end.
    pub(crate) async fn ending(&self) {
        self.reached(Phase::Ending).await;
    }

    fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.0.subscribe().wait_for(|now| *now >= phase).await;
    }
}
