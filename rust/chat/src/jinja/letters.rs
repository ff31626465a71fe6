//! What kind of character a character is, as Python's string methods ask.

use unicode_general_category::{GeneralCategory, get_general_category};

/// Whether Python's `str.isspace` says so.
pub(crate) fn is_space(char: char) -> bool {
    char.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&char)
}

/// Whether `str.isalpha` says so: letters, without marks and numerals.
pub(crate) fn is_alpha(char: char) -> bool {
    if char.is_ascii() {
        return char.is_ascii_alphabetic();
    }
    matches!(
        get_general_category(char),
        GeneralCategory::UppercaseLetter
            | GeneralCategory::LowercaseLetter
            | GeneralCategory::TitlecaseLetter
            | GeneralCategory::ModifierLetter
            | GeneralCategory::OtherLetter
    )
}

/// Whether `str.isalnum` says so.
pub(crate) fn is_alnum(char: char) -> bool {
    is_alpha(char) || is_numeric(char)
}

/// Whether `str.isdecimal` says so.
pub(crate) fn is_decimal(char: char) -> bool {
    char.is_ascii_digit()
        || (!char.is_ascii() && get_general_category(char) == GeneralCategory::DecimalNumber)
}

/// Whether `str.isdigit` says so: decimal digits, and digits in another place or shape, such as `²`.
pub(crate) fn is_digit(char: char) -> bool {
    is_decimal(char)
        || matches!(
            char,
            '²' | '³'
                | '¹'
                | '\u{1369}'..='\u{1371}'
                | '\u{19da}'
                | '⁰'
                | '⁴'..='⁹'
                | '₀'..='₉'
                | '①'..='⑨'
                | '⑴'..='⑼'
                | '⒈'..='⒐'
                | '⓪'
                | '⓵'..='⓽'
                | '⓿'
                | '❶'..='❾'
                | '➀'..='➈'
                | '➊'..='➒'
                | '\u{10a40}'..='\u{10a43}'
                | '\u{10e60}'..='\u{10e68}'
                | '\u{11052}'..='\u{1105a}'
                | '\u{1f100}'..='\u{1f10a}'
        )
}

/// Whether `str.isnumeric` says so, but for Chinese numerals, which are letters, too.
pub(crate) fn is_numeric(char: char) -> bool {
    char.is_numeric()
}

/// Whether `str.isprintable` says so.
pub(crate) fn is_printable(char: char) -> bool {
    if char.is_ascii() {
        return (' '..='~').contains(&char);
    }
    !matches!(
        get_general_category(char),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::SpaceSeparator
    )
}
