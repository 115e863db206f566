//! URLs that may be printed.
//!
//! In:   a URL as it was asked for.
//! Out:  [`Redacted`], without user, password and the values of its query.
//! Pure: text only.

use std::fmt;

use url::Url;

/// A URL without user, password and query values, safe to print.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redacted(String);

impl Redacted {
    /// Keeps scheme, host, path and the names in the query of `url`.
    pub fn of(url: &Url) -> Self {
        let mut shown = url.clone();
        // A URL that cannot have a host has no user info either.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        let names: Vec<_> = url.query().map_or_else(Vec::new, |query| {
            query
                .split('&')
                .map(|pair| pair.split_once('=').map_or("…", |(name, _)| name))
                .collect()
        });
        let query = names.iter().map(|name| match *name {
            "…" => "…".to_owned(), // a query without a name is a value
            name => format!("{name}=…"),
        });
        let query = query.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        Self(format!("{shown}{mark}{query}"))
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_url_keeps_where_and_loses_who() {
        for (url, shown) in [
            ("https://mirror.lan/a/b.deb", "https://mirror.lan/a/b.deb"),
            ("https://u:CANARY@mirror.lan:8443/a", "https://mirror.lan:8443/a"),
            ("https://CANARY@mirror.lan/a", "https://mirror.lan/a"),
            ("https://mirror.lan/a?sig=CANARY&t=CANARY#CANARY", "https://mirror.lan/a?sig=…&t=…"),
            ("https://mirror.lan/a?CANARY", "https://mirror.lan/a?…"),
            ("https://mirror.lan/a?", "https://mirror.lan/a?…"),
        ] {
            assert_eq!(Redacted::of(&url.parse().unwrap()).to_string(), shown);
        }
    }
}
