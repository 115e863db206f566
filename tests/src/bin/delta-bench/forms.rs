//! The forms in which one Go program is published.
//!
//! In:   a built binary.
//! Out:  the binary itself, a tar.gz by each encoder, an image whose second layer has it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tests::{
    Content,
    fixtures::{oci::MANIFEST, sha256},
};

use crate::{
    artifact::Artifact,
    golang::{Program, append},
    gzip::{Encoder, Gzip},
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// How a program is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Bare,
    TarGz(Encoder),
    Image,
}

impl Form {
    pub const ALL: [Self; 6] = [
        Self::Bare,
        Self::TarGz(Encoder::Go),
        Self::TarGz(Encoder::GoFastest),
        Self::TarGz(Encoder::Gnu),
        Self::TarGz(Encoder::Pgzip),
        Self::Image,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::TarGz(encoder) => encoder.name(),
            Self::Image => "image",
        }
    }

    /// A program in this form; made when it is not there.
    ///
    /// # Errors
    ///
    /// The binary cannot be had, or the encoder is not there.
    pub fn of(self, program: &Program, corpus: &Path, gzip: &Gzip) -> anyhow::Result<Artifact> {
        let binary = program.binary(corpus)?;
        match self {
            Self::Bare => Ok(Artifact::File(binary)),
            Self::TarGz(encoder) => {
                let name = format!("{}.{}.tar.gz", program.name, encoder.name());
                let target = binary.with_file_name(name);
                if !target.exists() {
                    gzip.compress(encoder, &tar_of(program, &binary)?, &target)?;
                }
                Ok(Artifact::File(target))
            }
            Self::Image => Ok(Artifact::Image(image(program, &binary, gzip)?)),
        }
    }
}

/// The plain tar beside the binary: what upstream's archive holds.
fn tar_of(program: &Program, binary: &Path) -> anyhow::Result<PathBuf> {
    let target = binary.with_file_name(format!("{}.tar", program.name));
    if !target.exists() {
        let mut tar = tar::Builder::new(vec![]);
        append(&mut tar, &format!("bin/{}", program.name), 0o755, &fs::read(binary)?)?;
        write_whole(&target, &tar.into_inner()?)?;
    }
    Ok(target)
}

/// An OCI layout: a base layer that never changes, and one with the program.
fn image(program: &Program, binary: &Path, gzip: &Gzip) -> anyhow::Result<PathBuf> {
    let folder = binary.with_file_name("image");
    if folder.join("index.json").exists() {
        return Ok(folder);
    }
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let base = folder.join("base.tar");
    write_whole(&base, &base_layer()?)?;
    let mut layers = vec![];
    let mut plain = vec![];
    for tar in [base.clone(), tar_of(program, binary)?] {
        let packed = folder.join("layer.tar.gz");
        gzip.compress(Encoder::Go, &tar, &packed)?;
        plain.push(format!("sha256:{}", sha256(&fs::read(&tar)?)));
        layers.push(put(&blobs, LAYER, &fs::read(&packed)?)?);
        fs::remove_file(packed)?;
    }
    fs::remove_file(base)?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": [format!("/bin/{}", program.name)]},
        "rootfs": {"type": "layers", "diff_ids": plain},
    });
    let config = put(&blobs, CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
    });
    let mut root = put(&blobs, MANIFEST, manifest.to_string().as_bytes())?;
    root["annotations"] = json!({"org.opencontainers.image.ref.name": "bench"});
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "manifests": [root]});
    write_whole(&folder.join("index.json"), index.to_string().as_bytes())?;
    Ok(folder)
}

/// What images of static programs have below them: certificates and time zones, in bytes that
/// compress about as well.
fn base_layer() -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(vec![]);
    let armour = data_encoding::BASE64.encode(&Content::new(11, 150_000).bytes());
    append(&mut tar, "etc/ssl/certs/ca-certificates.crt", 0o644, armour.as_bytes())?;
    append(&mut tar, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/sbin/nologin\n")?;
    append(&mut tar, "usr/share/zoneinfo.zip", 0o644, &Content::new(12, 400_000).bytes())?;
    Ok(tar.into_inner()?)
}

fn put(blobs: &Path, media_type: &str, bytes: &[u8]) -> anyhow::Result<Value> {
    let digest = sha256(bytes);
    fs::write(blobs.join(&digest), bytes)?;
    Ok(json!({
        "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len(),
    }))
}

/// Writes a file that is there whole or not at all.
fn write_whole(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = target.with_extension("part");
    fs::write(&part, bytes)?;
    fs::rename(part, target)?;
    Ok(())
}
