//! What Chameleon's pre-tokenizer takes out of a text before GPT-2's words.

use super::Piece;

/// `<sentinel:[0-9]+>`
pub(super) fn sentinel(piece: &Piece<'_>, at: usize) -> Option<usize> {
    let digits = piece.text[at..piece.end].strip_prefix(b"<sentinel:")?;
    let n = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (n > 0 && digits.get(n) == Some(&b'>')).then_some(at + 10 + n + 1)
}

/// `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`
pub(super) fn image(piece: &Piece<'_>, at: usize) -> Option<usize> {
    let code = piece.text[at..piece.end].strip_prefix(b"IMGIMG")?;
    let n = code.iter().take_while(|byte| (b'A'..=b'I').contains(byte)).count();
    ((1..=4).contains(&n) && code.get(n) == Some(&b'Z')).then_some(at + 6 + n + 1)
}

/// `([\t\n]|    |  )`
pub(super) fn indent(piece: &Piece<'_>, at: usize) -> Option<usize> {
    let rest = &piece.text[at..piece.end];
    match rest {
        [b'\t' | b'\n', ..] => Some(at + 1),
        [b' ', b' ', b' ', b' ', ..] => Some(at + 4),
        [b' ', b' ', ..] => Some(at + 2),
        _ => None,
    }
}
