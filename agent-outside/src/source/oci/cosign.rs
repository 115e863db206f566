//! Decides whether cosign's signatures bind an image to a key.
//!
//! In:   a key file, a signature's manifest, the payloads that it names, the image's digest.
//! Out:  [`Claim`]s, and for each of them nothing or a [`Flaw`].
//! Pure: bytes only. Nothing of a payload is read before its signature is found good.
//!
//! A payload is a "simple signing" document; it names the digest that was signed. The signature
//! stands in base64 in an annotation of the layer that the payload is (cosign, `specs/SIGNATURE_SPEC.md`).

use data_encoding::BASE64;
use gapferry_proto::{BlobId, BlobRef, Digest, limits};
use p256::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
    pkcs8::DecodePublicKey as _,
};
use serde::Deserialize;

/// The artifact type of a signature that is a referrer.
pub const ARTIFACT_TYPE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const SIGNATURE_TYPE: &str = "cosign container image signature";

/// A public key that must have signed.
pub struct Key(VerifyingKey);

/// A payload with the signature over it, neither checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub payload: BlobRef,
    /// As the annotation has it.
    pub signature: String,
}

/// Why a file is no key.
#[derive(Debug, thiserror::Error)]
#[error("is no PEM of an ECDSA P-256 public key")]
pub struct KeyError;

/// Why a claim does not count.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    #[error("a signature that is no base64")]
    Base64,
    #[error("a signature that is no ECDSA signature")]
    Encoding,
    #[error("a signature that the key did not make")]
    Signer,
    #[error("a signed payload that is not understood")]
    Payload(#[source] serde_json::Error),
    #[error("a signed payload of another type, {0:?}")]
    Type(String),
    #[error("a signature of another image, {0:?}")]
    Image(String),
    #[error("a payload of {0} bytes")]
    Length(u64),
}

impl Key {
    /// Reads a key as `cosign generate-key-pair` writes it to `cosign.pub`.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| KeyError)?;
        VerifyingKey::from_public_key_pem(text.trim()).map(Self).map_err(|_| KeyError)
    }

    /// Checks that this key signed `payload`, and that it speaks of `image`.
    ///
    /// # Errors
    ///
    /// [`Flaw`].
    pub fn check(&self, payload: &[u8], signature: &str, image: Digest) -> Result<(), Flaw> {
        let der = BASE64.decode(signature.trim().as_bytes()).map_err(|_| Flaw::Base64)?;
        let signature = Signature::from_der(&der).map_err(|_| Flaw::Encoding)?;
        self.0.verify(payload, &signature).map_err(|_| Flaw::Signer)?;
        let Payload { critical } = serde_json::from_slice(payload).map_err(Flaw::Payload)?;
        if critical.r#type != SIGNATURE_TYPE {
            return Err(Flaw::Type(critical.r#type));
        }
        if critical.image.docker_manifest_digest != image.to_string() {
            return Err(Flaw::Image(critical.image.docker_manifest_digest));
        }
        Ok(())
    }
}

impl Claim {
    /// Whether the payload is short enough to be looked at.
    ///
    /// # Errors
    ///
    /// [`Flaw::Length`].
    pub fn check_length(&self) -> Result<(), Flaw> {
        let len_bytes = self.payload.len_bytes;
        if len_bytes <= limits::SIGNED_PAYLOAD_LEN_BYTES_MAX {
            return Ok(());
        }
        Err(Flaw::Length(len_bytes))
    }
}

/// The claims of a signature's manifest; none of a document that is something else.
pub fn claims(manifest: &[u8]) -> Vec<Claim> {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(manifest) else { return Vec::new() };
    manifest.layers.into_iter().filter_map(Layer::claim).collect()
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Layer {
    fn claim(self) -> Option<Claim> {
        if self.media_type != PAYLOAD_TYPE {
            return None;
        }
        let digest: Digest = self.digest.parse().ok()?;
        let payload = BlobRef { id: BlobId::from(digest), len_bytes: self.size };
        let signature = self.annotations?.remove(SIGNATURE_ANNOTATION)?;
        Some(Claim { payload, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The key and the signatures were made by `openssl ecparam` and `openssl dgst -sha256 -sign`.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/955zKnLlmQZu+YG6ZscVZThxjRj\n\
        rrvYknUX/pCrtNAa1cK5CTT77Bxc4Hul5h4LjrJJBLLeih4Dx+c/RB6PSw==\n\
        -----END PUBLIC KEY-----";
    const OF_384_BITS: &str = "-----BEGIN PUBLIC KEY-----\n\
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEM3rbxLnarAU12sSjnKZ62PPkjxSf5iz6\n\
        tZQ23ipctJ8TG+3Xkwo9cKvHEQw+wcOv47uwXzZ2GJrZkdOF5Oo+o9hhujSBiYg+\n\
        JqluNqoOgeiwmAIQObnnoce2+HWqEDBe\n\
        -----END PUBLIC KEY-----";
    const SIGNED: &str = "MEYCIQCN6nbY9n2dtIhH3TjclZYKX4caZkMiJIw7O+4Rpv+e+AIhAPZRShoirJh5nEEyH9/JxmIk\
        P7N7hKDlT5LG7XV+iutl";
    const BLOB_SIGNED: &str = "MEQCICU2bbvaIdXK9q7ql17ujAP/ZEB7yzFqvWXrATJMLZ5CAiAOLyzWiUghp4iVQ1G3haoD\
        jqtM/W3Wh3DSbXM+oEXKCQ==";

    /// A payload for the image `abc`.
    fn payload(of: &str) -> String {
        format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"r.example/a\"}},\
             \"image\":{{\"docker-manifest-digest\":\"{}\"}},\
             \"type\":\"cosign {of} signature\"}},\"optional\":null}}",
            Digest::of(b"abc")
        )
    }

    #[test]
    fn what_openssl_signed_counts_for_the_image_that_it_names_alone() {
        let key = Key::parse(format!("{KEY}\n").as_bytes()).unwrap();
        let (good, of_blob) = (payload("container image"), payload("blob"));
        let abc = Digest::of(b"abc");
        key.check(good.as_bytes(), SIGNED, abc).unwrap();
        let longer = format!("{good} ");
        for (payload, signature, image, said) in [
            (&good, SIGNED, Digest::of(b"other"), "of another image"),
            (&longer, SIGNED, abc, "the key did not make"),
            (&good, BLOB_SIGNED, abc, "the key did not make"),
            (&of_blob, BLOB_SIGNED, abc, "another type"),
            (&good, "%%%", abc, "no base64"),
            (&good, "", abc, "no ECDSA"),
            (&good, "AAAA", abc, "no ECDSA"),
        ] {
            let flaw = key.check(payload.as_bytes(), signature, image).unwrap_err();
            assert!(flaw.to_string().contains(said), "{flaw}");
        }
    }

    #[test]
    fn only_a_public_key_of_p256_is_a_key() {
        for text in ["", "key", OF_384_BITS, &KEY.replace("PUBLIC", "PRIVATE"), &KEY[..90]] {
            assert!(Key::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Key::parse(b"\xff").is_err());
    }

    #[test]
    fn a_signatures_manifest_has_a_claim_for_each_signed_payload() {
        let layer = |media_type: &str, rest: &str| {
            let digest = Digest::of(b"abc");
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":3{rest}}}"#)
        };
        let signed = format!(r#","annotations":{{"{SIGNATURE_ANNOTATION}":"c2ln"}}"#);
        let layers = [
            layer(PAYLOAD_TYPE, &signed),
            layer(PAYLOAD_TYPE, ""),
            layer("application/octet-stream", &signed),
            layer(PAYLOAD_TYPE, &signed).replace("sha256", "sha512"),
        ];
        let manifest = format!(r#"{{"layers":[{}]}}"#, layers.join(","));
        let payload = BlobRef { id: BlobId::of(b"abc"), len_bytes: 3 };
        let expected = [Claim { payload, signature: "c2ln".to_owned() }];
        assert_eq!(claims(manifest.as_bytes()), expected);
        assert_eq!(expected[0].check_length().map_err(|flaw| flaw.to_string()), Ok(()));
        for other in ["", "[]", r#"{"layers":3}"#, "{}"] {
            assert_eq!(claims(other.as_bytes()), [], "{other}");
        }
    }
}
