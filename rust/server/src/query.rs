//! What stands after the `?` of a path.

use axum::http::Uri;
use percent_encoding::percent_decode_str;

/// The value of a name, without its escapes; `None` if it is not there or no text.
pub(crate) fn value(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let plain = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(String::from);
    let mut found = pairs.filter(|(given, _)| plain(given).as_deref() == Some(name));
    plain(found.next()?.1)
}

/// Whether a name is there, and not `0` or `false`.
pub(crate) fn is_set(uri: &Uri, name: &str) -> bool {
    value(uri, name).is_some_and(|value| value != "0" && value != "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_without_their_escapes() {
        let uri: Uri = "/props?model=ggml-org%2Fgemma%3AQ4&x=a+b&reload=1&off=0&wrong=%ff".parse().unwrap();
        assert_eq!(value(&uri, "model").as_deref(), Some("ggml-org/gemma:Q4"));
        assert_eq!(value(&uri, "x").as_deref(), Some("a b"));
        assert_eq!((value(&uri, "wrong"), value(&uri, "mode")), (None, None));
        assert!(is_set(&uri, "reload") && !is_set(&uri, "off") && !is_set(&uri, "none"));
        assert_eq!(value(&"/props".parse().unwrap(), "model"), None);
    }
}
