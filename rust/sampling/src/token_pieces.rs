//! The texts of a vocabulary's tokens, and which of them end a text.

use crate::TokenId;

/// What infill has to know of a vocabulary: the bytes of every token and the tokens that end a text.
///
/// ```
/// use tabagent_sampling::TokenPieces;
///
/// let pieces = TokenPieces::new(["a", "ab", ""], &[2], Some(2));
/// assert_eq!(pieces.bytes(1), b"ab");
/// assert!(pieces.is_end(2) && pieces.bytes(7).is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPieces {
    bytes: Vec<u8>,
    /// Where each piece ends in `bytes`.
    ends: Vec<usize>,
    ending: Vec<TokenId>,
    end: Option<TokenId>,
}

impl TokenPieces {
    /// `pieces` by id, where control tokens are empty; `ending` are the tokens that end a text, and `end` is the one to end with (of
    /// the turn, else of the sequence).
    pub fn new<P: AsRef<[u8]>>(
        pieces: impl IntoIterator<Item = P>,
        ending: &[TokenId],
        end: Option<TokenId>,
    ) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece.as_ref());
            ends.push(bytes.len());
        }
        let mut ending = ending.to_vec();
        ending.sort_unstable();
        Self { bytes, ends, ending, end }
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; none for one that does not exist.
    pub fn bytes(&self, token: TokenId) -> &[u8] {
        let place = usize::try_from(token).ok().and_then(|at| Some((at, *self.ends.get(at)?)));
        place.map_or(&[], |(at, end)| {
            let start = if at == 0 { 0 } else { self.ends[at - 1] };
            &self.bytes[start..end]
        })
    }

    /// Whether the token ends a text.
    pub fn is_end(&self, token: TokenId) -> bool {
        self.ending.binary_search(&token).is_ok()
    }

    /// The token to end a text with.
    pub fn end(&self) -> Option<TokenId> {
        self.end
    }
}
