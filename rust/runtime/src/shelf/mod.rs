//! Cells that are kept beyond memory, and beyond the engine's life.

mod index;
mod keeper;

use crate::TokenId;

pub(crate) use keeper::{Errand, Keeper};

/// Keeps the cells of beginnings beyond memory and beyond an engine's life, on a disk say; see [`Engine::spawn_with_shelf`](crate::Engine::spawn_with_shelf).
///
/// But for [`entries`](Self::entries), all is called on a thread of the engine's own, for which only those requests wait that take what it brings.
pub trait Shelf: Send + 'static {
    /// The tokens of each entry that is there already. Called once, before the first request.
    fn entries(&mut self) -> Vec<Vec<TokenId>>;

    /// Keeps the cells of tokens, as [`Decoder::export`](crate::Decoder::export) gave them, under a number that follows from the tokens. Returns the numbers of others that
    /// had to go for it, or `None` if it cannot be kept.
    fn put(&mut self, id: u64, tokens: &[TokenId], cells: &[u8]) -> Option<Vec<u64>>;

    /// The cells of an entry, if they are still there and are those of `tokens`. The entry is forgotten otherwise.
    fn get(&mut self, id: u64, tokens: &[TokenId]) -> Option<Vec<u8>>;

    /// Drops an entry, which a longer one replaces.
    fn remove(&mut self, id: u64);
}
