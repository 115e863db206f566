//! Which redirects are followed.
//!
//! Pure: the addresses so far and the next one decide.

use reqwest::redirect;
use url::Url;

/// Most redirects followed for one request, as browsers do.
const REDIRECTS_MAX: usize = 10;

/// Follows a redirect, or says which rule it breaks.
pub fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    match check_redirect(attempt.previous(), attempt.url()) {
        Ok(()) => attempt.follow(),
        Err(rule) => attempt.error(rule),
    }
}

/// Decides whether a redirect is followed: at most [`REDIRECTS_MAX`], never out of TLS, and for a
/// registry's list of referrers only to such a list. A registry that has none may redirect to a
/// page for people, which is slow to say that it is not what was asked for.
pub fn check_redirect(previous: &[Url], next: &Url) -> Result<(), &'static str> {
    if REDIRECTS_MAX < previous.len() {
        return Err("more than 10 redirects");
    }
    let from_tls = previous.last().is_some_and(|url| url.scheme() == "https");
    if from_tls && next.scheme() != "https" {
        return Err("a redirect from https to plain http");
    }
    let is_list = |url: &Url| url.path().starts_with("/v2/") && url.path().contains("/referrers/");
    if previous.last().is_some_and(is_list) && !is_list(next) {
        return Err("a redirect from a list of referrers to something else");
    }
    Ok(())
}
