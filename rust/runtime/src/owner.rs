//! Who keeps the cells of a conversation.

use std::fmt;
use std::sync::Arc;

use crate::inbox::Inbox;
use crate::scheduler::OwnerId;

/// Keeps what requests with it leave behind; made by [`Engine::owner`](crate::Engine::owner). Cheap to clone.
///
/// What the last one of them decoded stays in memory, or in host memory where others need the cells, whatever else runs, until all clones are dropped. So the
/// next request that begins with it need not decode it again.
#[derive(Clone)]
pub struct Owner(Arc<Inner>);

struct Inner {
    id: OwnerId,
    inbox: Arc<Inbox>,
}

impl Owner {
    pub(crate) fn new(id: OwnerId, inbox: &Arc<Inbox>) -> Self {
        Self(Arc::new(Inner { id, inbox: Arc::clone(inbox) }))
    }

    /// Its number, if it is one of the engine with this inbox.
    pub(crate) fn id_for(&self, inbox: &Arc<Inbox>) -> Option<OwnerId> {
        Arc::ptr_eq(&self.0.inbox, inbox).then_some(self.0.id)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.inbox.bell.home.is_here() {
            self.inbox.release(self.id);
        }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owner").field(&self.0.id).finish()
    }
}
