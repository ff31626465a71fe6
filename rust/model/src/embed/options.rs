//! How texts become vectors, as users say it.

use tabagent_llama::Pooling;

use crate::value::{Fields, OptionError, Value};

/// How the vectors of a text's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPooling {
    /// The mean over all tokens.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
}

impl TextPooling {
    /// The names of all, as options have them.
    pub const NAMES: [(&'static str, Self); 3] =
        [("mean", Self::Mean), ("cls", Self::Cls), ("last", Self::Last)];

    /// The way that a model's file names. Of one that names none, of a generating one for example, the mean, as sentence-transformers does.
    pub(crate) fn of_model(stated: Option<Pooling>) -> Self {
        match stated {
            Some(Pooling::Cls) => Self::Cls,
            Some(Pooling::Last) => Self::Last,
            Some(Pooling::Mean | Pooling::None | Pooling::Rank) | None => Self::Mean,
        }
    }
}

/// How texts become vectors.
///
/// ```
/// use tabagent_model::{EmbedOptions, TextPooling};
///
/// let options = EmbedOptions::read(serde_json::json!({"pooling": "last", "dimensions": 256}).into())?;
/// assert_eq!((options.pooling, options.dimensions), (Some(TextPooling::Last), Some(256)));
/// assert!(options.normalize && !options.truncate);
/// # Ok::<(), tabagent_model::OptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedOptions {
    /// How one vector is made of those of a text's tokens; `None` for the model's own way.
    pub pooling: Option<TextPooling>,
    /// Give vectors the length 1.
    pub normalize: bool,
    /// Cut texts that are too long.
    pub truncate: bool,
    /// Keep so many numbers of each vector, the first; `None` for all.
    pub dimensions: Option<usize>,
    /// Add the special tokens that the model wants at the ends of a text. Texts given as tokens are taken as they are.
    pub add_special: bool,
    /// Read markers in texts as the tokens that they name.
    pub parse_special: bool,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self {
            pooling: None,
            normalize: true,
            truncate: false,
            dimensions: None,
            add_special: true,
            parse_special: false,
        }
    }
}

impl EmbedOptions {
    /// Reads options by their names; missing ones have their defaults.
    ///
    /// # Errors
    /// [`OptionError`] names the option that is unknown or has a wrong type or value.
    pub fn read(options: Value) -> Result<Self, OptionError> {
        let mut given = Fields::new(options, "options")?;
        let default = Self::default();
        let read = Self {
            pooling: given.named("pooling", &TextPooling::NAMES)?,
            normalize: given.flag("normalize")?.unwrap_or(default.normalize),
            truncate: given.flag("truncate")?.unwrap_or(default.truncate),
            dimensions: given.integer("dimensions", "an integer of at least 1")?,
            add_special: given.flag("add_special")?.unwrap_or(default.add_special),
            parse_special: given.flag("parse_special")?.unwrap_or(default.parse_special),
        };
        given.finish()?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_a_way_of_its_own_takes_the_mean() {
        let of = |stated| TextPooling::of_model(stated);
        assert_eq!([of(Some(Pooling::Cls)), of(Some(Pooling::Last))], [TextPooling::Cls, TextPooling::Last]);
        for stated in [None, Some(Pooling::None), Some(Pooling::Mean), Some(Pooling::Rank)] {
            assert_eq!(of(stated), TextPooling::Mean);
        }
    }

    #[test]
    fn wrong_options_are_named() {
        for (json, expected) in [
            (serde_json::json!({"pooling": "max"}), "`pooling` must be `mean`, `cls` or `last`, got `max`"),
            (
                serde_json::json!({"dimensions": -1}),
                "`dimensions` must be an integer of at least 1, got `-1`",
            ),
            (serde_json::json!({"normalise": true}), "unknown option `normalise`"),
        ] {
            let text = EmbedOptions::read(json.into()).unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
