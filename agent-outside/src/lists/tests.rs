use super::*;

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn entry(url: &str, checksum: Checksum, line: u32) -> FileEntry {
    FileEntry { url: url.parse().unwrap(), checksum, line }
}

fn name(name: &str, line: u32) -> NameEntry {
    NameEntry { name: name.to_owned(), line }
}

fn words(errors: &[ListError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn fault_of(text: &str) -> Fault {
    let mut errors = files("files.list", text.as_bytes()).expect_err(text);
    assert_eq!((errors.len(), errors[0].file.as_str()), (1, "files.list"), "{text}");
    errors.remove(0).fault
}

#[test]
fn a_list_as_kubespray_prints_it_has_no_checksums() {
    let list = "https://dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubelet\n\
                https://github.com/opencontainers/runc/releases/download/v1.4.2/runc.amd64\n";
    let [kubelet, runc] = [
        "dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubelet",
        "github.com/opencontainers/runc/releases/download/v1.4.2/runc.amd64",
    ]
    .map(|rest| format!("https://{rest}"));
    let expected = [entry(&kubelet, Checksum::None, 1), entry(&runc, Checksum::None, 2)];
    assert_eq!(files("files.list", list.as_bytes()).unwrap(), expected);
}

#[test]
fn a_checksum_stands_after_the_url_or_before_it_as_sha256sum_prints_it() {
    let sum = Checksum::Sha256(Digest::of(b"abc"));
    let upper = HEX.to_uppercase();
    for line in [
        format!("https://h.example/a sha256:{HEX}"),
        format!("https://h.example/a\t{HEX}"),
        format!("https://h.example/a sha256:{upper} # as published"),
        format!("{HEX}  https://h.example/a"),
        format!("{HEX} *https://h.example/a"),
        format!("sha256:{HEX} https://h.example/a"),
    ] {
        let read = files("files.list", line.as_bytes()).unwrap();
        assert_eq!(read, [entry("https://h.example/a", sum, 1)], "{line}");
    }
}

#[test]
fn comments_blank_lines_windows_line_ends_and_a_byte_order_mark_count_for_nothing() {
    let list = "\u{feff}# made by hand\r\n\r\n  https://h.example/a  # why\r\n\t\r\n\
                #https://h.example/b\r\nhttps://h.example/c";
    let expected = [
        entry("https://h.example/a", Checksum::None, 3),
        entry("https://h.example/c", Checksum::None, 6),
    ];
    assert_eq!(files("files.list", list.as_bytes()).unwrap(), expected);
    for nothing in ["", "\n", "\u{feff}", "# only\r\n"] {
        assert_eq!(files("files.list", nothing.as_bytes()), Ok(vec![]), "{nothing:?}");
    }
}

#[test]
fn a_url_twice_is_one_file_and_keeps_the_checksum_that_either_line_gives() {
    let sum = Checksum::Sha256(Digest::of(b"abc"));
    let once = [entry("https://h.example/a", sum, 1)];
    for list in [
        format!("https://h.example/a {HEX}\nhttps://h.example/a\n"),
        format!("https://h.example/a\nhttps://h.example/a {HEX}\n"),
        format!("https://h.example/a {HEX}\nhttps://h.example/a {HEX}\n"),
    ] {
        assert_eq!(files("files.list", list.as_bytes()).unwrap(), once, "{list}");
    }
    let other = HEX.replace('b', "c");
    let two = format!("https://h.example/a {HEX}\n\nhttps://h.example/a {other}");
    assert_eq!(fault_of(&two), Fault::TwoChecksums(1));
    assert_eq!(fault_of("https://h.example/a\nhttp://h.example/a?x=1"), Fault::TwoUrls(1));
}

#[test]
fn a_line_that_is_no_file_says_what_to_do() {
    for (line, fault) in [
        ("kubelet", Fault::NoUrl),
        ("/usr/bin/kubelet", Fault::NoUrl),
        ("ftp://h.example/a", Fault::NoUrl),
        ("file:///etc/passwd", Fault::NoUrl),
        ("https://u:CANARY@h.example/a", Fault::Credentials),
        ("https://CANARY@h.example/a", Fault::Credentials),
        ("https://h.example/a#sha256=1", Fault::Fragment),
        ("https://h.example/", Fault::Path),
        ("https://h.example/a//b", Fault::Path),
        ("https://h.example/a abc", Fault::Checksum),
        ("https://h.example/a sha256:abc", Fault::Checksum),
        ("https://h.example/a crc:abc", Fault::Checksum),
        ("https://h.example/a d41d8cd98f00b204e9800998ecf8427e", Fault::Algorithm),
        ("https://h.example/a sha256:x y", Fault::FileColumns),
        ("{{ dl_k8s_io_url }}/release/kubelet", Fault::Template),
    ] {
        assert_eq!(fault_of(line), fault, "{line}");
        assert!(!fault.to_string().contains("CANARY"));
    }
    assert_eq!(fault_of(&format!("https://h.example/a sha512:{HEX}{HEX}")), Fault::Algorithm);
}

#[test]
fn all_errors_are_told_with_file_and_line() {
    let list =
        b"https://h.example/a\nkubelet\nhttps://h.example/b\xff\n# fine\nhttps://h.example/c 1 2\n";
    assert_eq!(
        words(&files("lists/files.list", list).unwrap_err()),
        [
            "lists/files.list:2: there is no absolute http or https URL",
            "lists/files.list:3: the line is not UTF-8",
            "lists/files.list:5: write a URL, and a checksum before or after it if there is one",
        ]
    );
}

#[test]
fn a_file_of_another_sort_ends_in_few_errors() {
    let errors = packages("pkgs.txt", "???\n".repeat(1000).as_bytes()).unwrap_err();
    assert_eq!(errors.len(), LIST_ERRORS_MAX + 1);
    assert_eq!(errors[LIST_ERRORS_MAX].fault, Fault::MoreErrors);
    let utf16 = images("images.list", b"\xff\xfeq\0u\0a\0y\0").unwrap_err();
    assert_eq!(words(&utf16), ["images.list: the list is UTF-16; save it as UTF-8"]);
}

#[test]
fn lists_and_lines_are_read_up_to_their_bounds_and_not_beyond() {
    let url = |len: usize| format!("https://h.example/{}", "a".repeat(len - 18));
    let path_max = gapferry_proto::limits::NAME_LEN_BYTES_MAX;
    assert_eq!(fault_of(&url(LIST_LINE_LEN_BYTES_MAX)), Fault::Path);
    assert!(files("f", url(path_max).as_bytes()).is_ok());
    let comment = format!("#{}", "a".repeat(LIST_LINE_LEN_BYTES_MAX - 1));
    assert_eq!(files("f", format!("{comment}\r\n").as_bytes()), Ok(vec![]));
    let long = LIST_LINE_LEN_BYTES_MAX + 1;
    assert_eq!(fault_of(&format!("{comment}a\n")), Fault::LineTooLong(long));

    let lines = "a\n".repeat(LIST_LINES_MAX);
    assert_eq!(packages("p", lines.as_bytes()).unwrap(), [name("a", 1)]);
    assert_eq!(
        packages("p", format!("{lines}b").as_bytes()).unwrap_err()[0].fault,
        Fault::TooManyLines
    );
    assert!(packages("p", &lines.as_bytes()[..lines.len() - 1]).is_ok());

    let full = format!("{}\n", "b".repeat(1023)).repeat(LIST_LEN_BYTES_MAX >> 10);
    assert!(packages("p", full.as_bytes()).is_ok());
    let over = packages("p", format!("{full}\n").as_bytes()).unwrap_err();
    assert_eq!(over[0].fault, Fault::ListTooLong(LIST_LEN_BYTES_MAX + 1));
}

#[test]
fn images_are_taken_whole_and_short_as_both_projects_write_them() {
    let list = "quay.io/calico/node:v3.31.5\n\
                registry.k8s.io/coredns/coredns:v1.12.4\n\
                # additional\n\
                registry:2.8.3# local\n\
                rook/ceph:v1.3.2\n\
                localhost:5000/a:1\n\
                quay.io/calico/node:v3.31.5\n";
    let digested = format!("{list}r.example/a@sha256:{HEX}\n");
    assert_eq!(
        images("images.list", digested.as_bytes()).unwrap(),
        [
            name("quay.io/calico/node:v3.31.5", 1),
            name("registry.k8s.io/coredns/coredns:v1.12.4", 2),
            name("registry:2.8.3", 4),
            name("rook/ceph:v1.3.2", 5),
            name("localhost:5000/a:1", 6),
            name(&format!("r.example/a@sha256:{HEX}"), 8),
        ]
    );
}

#[test]
fn a_line_that_is_no_image_says_what_to_do() {
    let list = "docker.io-library-nginx-1.tar  library/nginx:1\n\
                docker://quay.io/a:1\n\
                oci:layout:1\n\
                {{ kube_image_repo }}/pause:1\n\
                -quay.io/a:1\n\
                quay.io/a:1\u{1b}[2J\n";
    assert_eq!(
        words(&images("images.list", list.as_bytes()).unwrap_err()),
        [
            "images.list:1: write one image reference a line, with its registry",
            "images.list:2: this is a URL; write the image reference without a scheme",
            "images.list:3: a list cannot name a layout on disk; \
             write it under `images:` in the waybill",
            "images.list:4: a variable is still in braces; \
             this is the template, take the list made from it",
            "images.list:5: \"-quay.io/a:1\" is no image reference",
            "images.list:6: \"quay.io/a:1\\u{1b}[2J\" is no image reference",
        ]
    );
}

#[test]
fn packages_stand_one_or_more_on_a_line_with_comments() {
    let list = "# kubespray: required_pkgs\n#libselinux-python3\nconntrack\nsocat   curl # two\n\
                g++\nlibc6:amd64\ndocker-ce=5:28.0.4-1~debian.12~bookworm\nNetworkManager\nsocat\n";
    let expected = [
        name("conntrack", 3),
        name("socat", 4),
        name("curl", 4),
        name("g++", 5),
        name("libc6:amd64", 6),
        name("docker-ce=5:28.0.4-1~debian.12~bookworm", 7),
        name("NetworkManager", 8),
    ];
    assert_eq!(packages("pkgs.txt", list.as_bytes()).unwrap(), expected);
    let errors = packages("pkgs.txt", "ok @group\n--option\n$(id)\n".as_bytes()).unwrap_err();
    assert_eq!(errors.iter().map(|e| e.line).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
}

#[test]
fn the_lines_of_a_waybill_name_the_lists() {
    let read: ListsLine =
        serde_json::from_str(r#"{"files": "files.list", "images": "a/images.list"}"#).unwrap();
    let expected = ListsLine {
        files: Some("files.list".into()),
        images: Some("a/images.list".into()),
        ..ListsLine::default()
    };
    assert_eq!(read, expected);
    assert!(serde_json::from_str::<ListsLine>(r#"{"charts": "x"}"#).is_err());
}
