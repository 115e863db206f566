//! How a blob gets into a repository: by a mount, in one piece, or in chunks.
//!
//! One piece comes first, since every registry takes it and it is hashed once. A registry, or a
//! proxy before it, that finds it too large (413), or a connection that broke under a large one,
//! leads to chunks: an upload that broke goes on where the registry says it is.

use reqwest::{
    Method, Response, StatusCode,
    header::{self, HeaderName},
};
use url::Url;

use super::{auth, repository::Repository};
use crate::publish_to::http::{Ask, Client, Failed, Load, PushError, Waits, shown, unexpected};
use crate::publish_to::tree::Content;

/// How much goes into one chunk, in bytes: 16 MiB, unless the registry wants more.
const CHUNK_LEN_BYTES: u64 = 16 << 20;

/// The most that a registry may want in one chunk, in bytes.
const CHUNK_LEN_BYTES_MAX: u64 = 1 << 30;

/// How often one upload goes on after a break before it begins anew.
const BREAKS_MAX: u32 = 5;

const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// What a session has led to.
enum Begun {
    /// The registry had it, in another repository.
    Mounted,
    At {
        url: Url,
        chunk_len_bytes: u64,
    },
}

/// Uploads a blob that the repository lacks.
///
/// # Errors
///
/// [`PushError`] after all tries.
pub async fn upload(
    repository: Repository<'_>,
    content: &Content,
    holder: Option<&str>,
) -> Result<(), PushError> {
    let mut waits = Waits::new();
    let mut in_chunks = false;
    loop {
        let (url, chunk_len_bytes) = match begin(repository, content, holder).await? {
            Begun::Mounted => return Ok(()),
            Begun::At { url, chunk_len_bytes } => (url, chunk_len_bytes),
        };
        let ended = if in_chunks {
            chunks(repository, content, url, chunk_len_bytes).await
        } else {
            finish(repository, content, url, Load::Whole(content)).await
        };
        let Err(failed) = ended else { return Ok(()) };
        match &failed.error {
            PushError::Status { status: 413, .. } if !in_chunks => {
                in_chunks = true;
                continue;
            }
            PushError::Transport { .. } => in_chunks |= CHUNK_LEN_BYTES < content.len_bytes,
            _ => {}
        }
        waits.wait(failed).await?;
        if repository.has_blob(&content.digest).await? {
            return Ok(()); // the answer was lost, not the blob
        }
    }
}

/// `POST /v2/<name>/blobs/uploads/` (end-4a), as a mount (end-11) where another repository has it.
async fn begin(
    repository: Repository<'_>,
    content: &Content,
    holder: Option<&str>,
) -> Result<Begun, PushError> {
    let mut url = repository.url("blobs/uploads/");
    if let Some(holder) = holder {
        let digest = content.digest.to_string();
        url.query_pairs_mut().append_pair("mount", &digest).append_pair("from", holder);
    }
    let ask = Ask::new(Method::POST, url).with(header::CONTENT_LENGTH, "0");
    let response = repository.registry.send(&ask, &repository.scope(holder)).await?;
    match response.status() {
        StatusCode::CREATED => Ok(Begun::Mounted),
        StatusCode::ACCEPTED => {
            let least = response.headers().get(CHUNK_MIN).and_then(|value| value.to_str().ok());
            let least: u64 = least.and_then(|value| value.parse().ok()).unwrap_or(0);
            let chunk_len_bytes = least.clamp(CHUNK_LEN_BYTES, CHUNK_LEN_BYTES_MAX);
            Ok(Begun::At { url: location(repository, &response)?, chunk_len_bytes })
        }
        _ => Err(unexpected(response).await),
    }
}

/// `PUT <location>?digest=<digest>` (end-6).
async fn finish(
    repository: Repository<'_>,
    content: &Content,
    mut url: Url,
    load: Load<'_>,
) -> Result<(), Failed> {
    url.query_pairs_mut().append_pair("digest", &content.digest.to_string());
    let mut ask = Ask::new(Method::PUT, url)
        .with(header::CONTENT_TYPE, "application/octet-stream")
        .carrying(load);
    if matches!(load, Load::Nothing) {
        ask = ask.with(header::CONTENT_LENGTH, "0");
    }
    let response = once(repository, &ask).await?;
    match response.status() {
        status if status.is_success() => Ok(()),
        // The session is gone, or was begun anew: so is what was in it.
        StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => {
            Err(Failed::passing(unexpected(response).await))
        }
        _ => Err(Failed::lasting(unexpected(response).await)),
    }
}

/// `PATCH <location>` (end-5) until all of it is there.
async fn chunks(
    repository: Repository<'_>,
    content: &Content,
    mut url: Url,
    chunk_len_bytes: u64,
) -> Result<(), Failed> {
    let (mut from, mut breaks) = (0, 0);
    while from < content.len_bytes {
        let len_bytes = chunk_len_bytes.min(content.len_bytes - from);
        let ask = Ask::new(Method::PATCH, url.clone())
            .with(header::CONTENT_TYPE, "application/octet-stream")
            .with(header::CONTENT_RANGE, &format!("{from}-{}", from + len_bytes - 1))
            .carrying(Load::Part { content, from, len_bytes });
        let sent = once(repository, &ask).await;
        match sent {
            Ok(response) if response.status().is_success() => {
                url = location(repository, &response).map_err(Failed::lasting)?;
                from += len_bytes;
            }
            Ok(response) if response.status() == StatusCode::RANGE_NOT_SATISFIABLE => {
                breaks += 1;
                (url, from) = resumed(repository, url, content, breaks).await?;
            }
            Ok(response) => return Err(Failed::lasting(unexpected(response).await)),
            Err(failed) if failed.error.is_transport() => {
                breaks += 1;
                (url, from) = resumed(repository, url, content, breaks).await?;
            }
            Err(failed) => return Err(failed),
        }
    }
    finish(repository, content, url, Load::Nothing).await
}

/// Where an upload that broke goes on: `GET <location>` (end-13).
async fn resumed(
    repository: Repository<'_>,
    url: Url,
    content: &Content,
    breaks: u32,
) -> Result<(Url, u64), Failed> {
    let response = once(repository, &Ask::new(Method::GET, url)).await?;
    let held = response.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
    let held = held.and_then(held_bytes).filter(|held| *held <= content.len_bytes);
    match held {
        Some(held) if response.status().is_success() && breaks <= BREAKS_MAX => {
            let url = location(repository, &response).map_err(Failed::lasting)?;
            Ok((url, held))
        }
        _ => Err(Failed::passing(unexpected(response).await)),
    }
}

/// How much of an upload is there: `0-1023` says 1024 bytes. Nothing at all is `0-0` or `0--1`
/// with registries that have no other way to say it.
fn held_bytes(range: &str) -> Option<u64> {
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    match range {
        "0-0" | "0--1" => Some(0),
        range => range.strip_prefix("0-")?.parse::<u64>().ok()?.checked_add(1),
    }
}

/// Makes one try, with the login of the repository unless the upload is at another host.
async fn once(repository: Repository<'_>, ask: &Ask<'_>) -> Result<Response, Failed> {
    let (client, gate): (&Client, _) = (&repository.registry.client, &repository.registry.gate);
    let scope = repository.scope(None);
    let is_ours = ask.url.authority() == repository.registry.place.base.authority();
    let header = if is_ours { gate.held(&scope).await } else { None };
    let response = client.ask_once(ask, header.as_ref()).await?;
    match response.status() {
        StatusCode::UNAUTHORIZED if is_ours => {
            let answered = gate.answer(client, response, &scope, header.as_ref()).await;
            let header = answered.map_err(Failed::lasting)?;
            client.ask_once(ask, Some(&header)).await
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Failed::lasting(auth::refused(&response)))
        }
        _ => Ok(response),
    }
}

/// The `Location` of an upload. A registry behind a proxy may name itself without TLS: it means
/// itself all the same.
fn location(repository: Repository<'_>, response: &Response) -> Result<Url, PushError> {
    let base = &repository.registry.place.base;
    let said = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let url = said.and_then(|said| response.url().join(said).ok());
    let Some(mut url) = url else {
        let what = "it does not say where the upload goes";
        return Err(PushError::Answer { url: shown(response.url()), what });
    };
    if url.host_str() == base.host_str() && url.scheme() != base.scheme() {
        url = at_base(&url, base);
    }
    if !auth::may_follow(base, &url) {
        return Err(PushError::Insecure { url: shown(response.url()), to: shown(&url) });
    }
    Ok(url)
}

fn at_base(url: &Url, base: &Url) -> Url {
    let mut ours = base.clone();
    ours.set_path(url.path());
    ours.set_query(url.query());
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_how_much_is_there() {
        for (range, held) in [
            ("0-0", Some(0)),
            ("0--1", Some(0)),
            ("0-1023", Some(1024)),
            ("bytes=0-9", Some(10)),
            ("5-9", None),
            ("0-18446744073709551615", None),
            ("", None),
        ] {
            assert_eq!(held_bytes(range), held, "{range}");
        }
    }

    #[test]
    fn an_upload_that_lost_its_tls_on_the_way_goes_to_the_registry_itself() {
        let base = "https://r.lan:5000".parse().unwrap();
        let said: Url = "http://r.lan/v2/a/blobs/uploads/1?_state=x".parse().unwrap();
        let expected = "https://r.lan:5000/v2/a/blobs/uploads/1?_state=x";
        assert_eq!(at_base(&said, &base).as_str(), expected);
    }
}
