//! What is pushed is there, also after a restart; what is not taken leaves nothing.

use super::rules::tests::prefix;
use super::*;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

struct Home {
    _folder: tempfile::TempDir,
    root: Utf8PathBuf,
    store: Store,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let store = Store::open(root.join("store")).unwrap();
        Self { _folder: folder, root, store }
    }

    fn open(&self, quota: u64) -> Local {
        let prefixes = Prefixes::try_from(vec![prefix("apps/", quota, &["ci"])]).unwrap();
        Local::open(&self.root, self.store.clone(), prefixes).unwrap()
    }
}

fn place(local: &Local) -> Place {
    local.place("apps/x").unwrap()
}

/// Uploads a blob in two pieces.
fn push(local: &Local, bytes: &[u8], named: &Named) -> Result<(), LocalError> {
    let place = place(local);
    let id = local.begin(&place, "ci")?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    local.take(&place, "ci", &id)?.add(first)?;
    assert_eq!(local.arrived(&place, "ci", &id)?, first.len() as u64);
    let mut taken = local.take(&place, "ci", &id)?;
    if let Err(refused) = taken.add(second) {
        drop(taken.end());
        return Err(refused);
    }
    local.finish(&place, "ci", taken, named)
}

fn sha256(bytes: &[u8]) -> Named {
    BlobId::of(bytes).into()
}

/// An image of a config and a layer, named by whatever digests are given.
fn image(config: &Named, layer: &Named) -> Vec<u8> {
    let of = |named, len| format!(r#"{{"mediaType":"m","digest":"{named}","size":{len}}}"#);
    let (config, layer) = (of(config, 6), of(layer, 5));
    format!(r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{config},"layers":[{layer}]}}"#)
        .into_bytes()
}

fn put(local: &Local, bytes: &[u8], tag: &str) -> Result<Pushed, LocalError> {
    local.put_manifest(&place(local), "ci", bytes, Some(IMAGE), ManifestName::Tag(tag.to_owned()))
}

#[test]
fn an_image_is_there_after_a_restart_and_names_what_a_sweep_must_keep() {
    let home = Home::new();
    let layer = Named::Sha512(Sha512::of(b"layer"));
    let manifest = image(&sha256(b"config"), &layer);
    {
        let local = home.open(1 << 20);
        push(&local, b"config", &sha256(b"config")).unwrap();
        push(&local, b"layer", &layer).unwrap();
        put(&local, &manifest, "1").unwrap();
    }
    let local = home.open(1 << 20);
    let place = place(&local);
    let tagged = local.tagged(&place, "1").unwrap();
    assert_eq!(tagged, local.manifest(&place, &sha256(&manifest)).unwrap());
    assert_eq!((tagged.blob.id, &*tagged.media_type), (BlobId::of(&manifest), IMAGE));
    let expected = BlobRef { id: BlobId::of(b"layer"), len_bytes: 5 };
    assert_eq!(local.blob(&place, &layer), Some(expected));
    assert_eq!(local.tags(&place), Some(vec!["1".to_owned()]));
    let roots = Places::below(folder(&home.root)).read().unwrap().roots();
    let all = [&b"config"[..], b"layer", &manifest].map(BlobId::of);
    assert_eq!(roots, all.into());
    let books = local.books.used(0);
    let documents = 4 * limits::PUSHED_DOCUMENT_LEN_BYTES;
    assert_eq!(books, (manifest.len() as u64 + 11 + documents, 0));
}

#[test]
fn lost_aliases_are_made_again_from_the_blobs() {
    let home = Home::new();
    let named = Named::Sha512(Sha512::of(b"layer"));
    push(&home.open(1 << 20), b"layer", &named).unwrap();
    let root = folder(&home.root);
    std::fs::remove_dir_all(root.join("_aliases")).unwrap();
    assert_eq!(
        home.open(1 << 20).blob(&Place { repository: "apps/x".to_owned(), at: 0 }, &named),
        None
    );
    assert_eq!(rebuild_aliases(&root, &home.store, &sweep_door(&root).unwrap()).unwrap(), 1);
    let local = home.open(1 << 20);
    assert_eq!(local.blob(&place(&local), &named).unwrap().len_bytes, 5);
}

#[test]
fn what_is_deleted_is_gone_and_what_is_needed_is_not_deleted() {
    let home = Home::new();
    let local = home.open(1 << 20);
    let place = place(&local);
    let manifest = image(&sha256(b"config"), &sha256(b"layer"));
    for blob in [&b"config"[..], b"layer"] {
        push(&local, blob, &sha256(blob)).unwrap();
    }
    put(&local, &manifest, "1").unwrap();
    put(&local, &manifest, "2").unwrap();
    let refused = local.delete_blob(&place, "ci", &sha256(b"layer"));
    assert!(matches!(refused, Err(LocalError::BlobNeeded)), "{refused:?}");
    local.delete_tag(&place, "ci", "1").unwrap();
    assert!(local.tagged(&place, "1").is_none() && local.tagged(&place, "2").is_some());
    local.delete_manifest(&place, "ci", &sha256(&manifest)).unwrap();
    assert!(local.tagged(&place, "2").is_none());
    for blob in [&b"config"[..], b"layer"] {
        local.delete_blob(&place, "ci", &sha256(blob)).unwrap();
        let again = local.delete_blob(&place, "ci", &sha256(blob));
        assert!(matches!(again, Err(LocalError::BlobUnknown)), "{again:?}");
    }
    assert_eq!((local.tags(&place), local.books.used(0)), (None, (0, 0)));
    drop(local);
    assert_eq!(Places::below(folder(&home.root)).read().unwrap(), documents::Found::default());
}

#[test]
fn a_full_quota_and_a_wrong_digest_leave_nothing() {
    let home = Home::new();
    let local = home.open(limits::PUSHED_DOCUMENT_LEN_BYTES + 5);
    let refused = push(&local, b"layer!", &sha256(b"layer!"));
    assert!(matches!(refused, Err(LocalError::Full(_))), "{refused:?}");
    let refused = push(&local, b"layer", &sha256(b"other"));
    assert!(matches!(refused, Err(LocalError::OtherDigest(_))), "{refused:?}");
    let refused = push(&local, b"layer", &Named::Sha512(Sha512::of(b"other")));
    assert!(matches!(refused, Err(LocalError::OtherDigest(_))), "{refused:?}");
    assert_eq!(home.store.blobs().count(), 0);
    push(&local, b"layer", &sha256(b"layer")).unwrap();
    assert_eq!(local.books.used(0), (limits::PUSHED_DOCUMENT_LEN_BYTES + 5, 0));
    let layer = format!(r#"{{"mediaType":"m","digest":"{}","size":5}}"#, sha256(b"layer"));
    let of_layers = format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{layer},"layers":[{layer}]}}"#
    );
    let refused = put(&local, of_layers.as_bytes(), "1");
    assert!(matches!(refused, Err(LocalError::Full(_))), "{refused:?}");
    assert_eq!(home.store.blobs().count(), 1, "the manifest stayed in the store");
}

#[test]
fn a_manifest_needs_what_it_names_in_the_length_it_says() {
    let home = Home::new();
    let local = home.open(1 << 20);
    let manifest = image(&sha256(b"config"), &sha256(b"layer"));
    push(&local, b"config", &sha256(b"config")).unwrap();
    let refused = put(&local, &manifest, "1");
    assert!(matches!(refused, Err(LocalError::NeedUnknown(named)) if named == sha256(b"layer")));
    push(&local, b"longer", &sha256(b"longer")).unwrap();
    let refused = put(&local, &image(&sha256(b"config"), &sha256(b"longer")), "1");
    assert!(
        matches!(refused, Err(LocalError::NeedLength { said: 5, found: 6, .. })),
        "{refused:?}"
    );
    assert_eq!(local.tags(&place(&local)), Some(vec![]));
}

#[test]
fn an_upload_is_its_users_alone_and_one_request_has_it_at_a_time() {
    let home = Home::new();
    let local = home.open(1 << 20);
    let place = place(&local);
    let id = local.begin(&place, "ci").unwrap();
    let other = local.place("apps/y").unwrap();
    for refused in [local.take(&other, "ci", &id), local.take(&place, "eve", &id)] {
        assert!(matches!(refused, Err(LocalError::UploadUnknown)), "{refused:?}");
    }
    let taken = local.take(&place, "ci", &id).unwrap();
    let busy = local.take(&place, "ci", &id);
    assert!(matches!(busy, Err(LocalError::UploadBusy)), "{busy:?}");
    drop(taken);
    local.uploads.expire(Instant::now() + uploads::IDLE / 2);
    assert_eq!(local.arrived(&place, "ci", &id).unwrap(), 0);
    local.uploads.expire(Instant::now() + uploads::IDLE);
    assert!(matches!(local.arrived(&place, "ci", &id), Err(LocalError::UploadUnknown)));
}

#[test]
fn so_many_uploads_are_open_and_no_more() {
    let home = Home::new();
    let local = home.open(4 << 20);
    let place = place(&local);
    let mut ids: Vec<_> =
        (0..limits::UPLOADS_MAX).map(|_| local.begin(&place, "ci").unwrap()).collect();
    assert!(matches!(local.begin(&place, "ci"), Err(LocalError::TooManyUploads)));
    drop(local.take(&place, "ci", &ids.pop().unwrap()).unwrap().end());
    local.begin(&place, "ci").unwrap();
}

#[test]
fn a_damaged_document_keeps_no_other_away_and_a_second_server_out() {
    let home = Home::new();
    let local = home.open(1 << 20);
    push(&local, b"layer", &sha256(b"layer")).unwrap();
    let prefixes = local.prefixes.clone();
    let second = Local::open(&home.root, home.store.clone(), prefixes);
    assert!(matches!(second, Err(OpenError::Lock(_))), "{second:?}");
    drop(local);
    let broken = Places::below(folder(&home.root)).tag("apps/x", "1");
    std::fs::create_dir_all(broken.parent().unwrap()).unwrap();
    std::fs::write(&broken, "{").unwrap();
    let local = home.open(1 << 20);
    assert!(local.blob(&place(&local), &sha256(b"layer")).is_some());
    assert_eq!(Places::below(folder(&home.root)).read().unwrap().damaged, [broken]);
}

#[test]
fn what_was_removed_from_the_disk_is_written_when_it_is_pushed_again() {
    let home = Home::new();
    let local = home.open(1 << 20);
    let layer = Named::Sha512(Sha512::of(b"layer"));
    let manifest = image(&sha256(b"config"), &layer);
    let push_all = || {
        push(&local, b"config", &sha256(b"config")).unwrap();
        push(&local, b"layer", &layer).unwrap();
        put(&local, &manifest, "1").unwrap();
        let used = local.books.used(0);
        (Places::below(folder(&home.root)).read().unwrap(), used)
    };
    let all = push_all();
    for folder in ["apps", "_aliases"].map(|name| folder(&home.root).join(name)) {
        std::fs::remove_dir_all(folder).unwrap();
    }
    assert_eq!(push_all(), all);
    let blob = Places::below(folder(&home.root)).blob("apps/x", BlobId::of(b"layer"));
    std::fs::write(blob, b"{").unwrap();
    assert_eq!(push_all(), all);
}

#[test]
fn a_blob_that_left_the_store_is_not_mounted() {
    let home = Home::new();
    let local = home.open(1 << 20);
    let id = home.store.put(b"carried").unwrap();
    let blob = BlobRef { id, len_bytes: 7 };
    assert!(local.mount(&place(&local), "ci", blob).unwrap());
    let other = local.place("apps/y").unwrap();
    std::fs::remove_file(home.store.path(id)).unwrap();
    assert!(!local.mount(&other, "ci", blob).unwrap());
    assert_eq!((local.blob(&other, &id.into()), local.tags(&other)), (None, None));
}

#[test]
fn the_audit_log_names_the_tags_that_go_with_a_manifest() {
    let home = Home::new();
    let local = home.open(1 << 20);
    let manifest = image(&sha256(b"config"), &sha256(b"layer"));
    for blob in [&b"config"[..], b"layer"] {
        push(&local, blob, &sha256(blob)).unwrap();
    }
    put(&local, &manifest, "1").unwrap();
    put(&local, &manifest, "2").unwrap();
    local.delete_manifest(&place(&local), "ci", &sha256(&manifest)).unwrap();
    let log = std::fs::read_to_string(home.root.join("state/audit.log")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["tags"]),
        (&"deleted".into(), &serde_json::json!(["1", "2"]))
    );
}

#[test]
fn documents_that_are_not_mounted_are_lost_and_not_never_pushed() {
    let home = Home::new();
    let root = folder(&home.root);
    assert!(!is_lost(&root, &home.store).unwrap(), "nobody ever served this home");
    sweep_door(&root).unwrap();
    assert!(!is_lost(&root, &home.store).unwrap(), "a sweep made the folder");
    drop(home.open(1 << 20));
    assert!(!is_lost(&root, &home.store).unwrap());
    std::fs::rename(&root, root.with_extension("away")).unwrap();
    assert!(is_lost(&root, &home.store).unwrap());
    std::fs::create_dir(&root).unwrap();
    assert!(is_lost(&root, &home.store).unwrap(), "an empty folder, as below a mount");
}

#[test]
fn no_name_that_could_not_be_a_folder_of_its_own_lies_in_the_space() {
    let home = Home::new();
    let local = home.open(1 << 20);
    for name in ["apps/../../generations/x", "apps/./x", "apps//x", "apps/_tags/x", "apps/x/", "x"]
    {
        assert!(local.place(name).is_none(), "{name}");
    }
    assert_eq!(local.place("apps/team/x_y").unwrap().repository, "apps/team/x_y");
}
