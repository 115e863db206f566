use super::super::member::tests::{assert_apart, contents, damaged, pairs};
use super::*;

/// One header and its content, padded; `len_bytes` is what the header declares.
fn entry(kind: u8, name: &str, len_bytes: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; BLOCK_LEN_BYTES];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + len_bytes.len()].copy_from_slice(len_bytes);
    block[156] = kind;
    seal(&mut block);
    let mut bytes = block.to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_LEN_BYTES), 0);
    bytes
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(b'0', name, octal(content.len()).as_bytes(), content.as_bytes())
}

fn pax(kind: u8, records: &str) -> Vec<u8> {
    entry(kind, "pax", octal(records.len()).as_bytes(), records.as_bytes())
}

fn octal(number: usize) -> String {
    format!("{number:011o}\0")
}

fn found(bytes: &[u8]) -> Vec<(String, String)> {
    contents(bytes, &members(bytes).unwrap())
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

fn long_name() -> String {
    "long/".repeat(40) + "end"
}

fn by_tar(fresh: &::tar::Header) -> Vec<u8> {
    let long = long_name();
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, content) in [("a", "hello"), ("empty", ""), (long.as_str(), "deep"), ("a", "again")]
    {
        let mut header = fresh.clone();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let mut header = fresh.clone();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", "a").unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn files_by_a_real_tool_are_found_with_long_and_repeated_names() {
    let long = long_name();
    let expected = pairs(&[("a", "hello"), (&long, "deep"), ("a", "again")]);
    assert_eq!(found(&by_tar(&::tar::Header::new_gnu())), expected);
    assert_eq!(found(&by_tar(&::tar::Header::new_ustar())), expected);
    let bytes = by_tar(&::tar::Header::new_gnu());
    let members = members(&bytes).unwrap();
    let places: Vec<_> = members.iter().map(|m| (m.offset, m.len_bytes)).collect();
    assert_eq!(places, [(512, 5), (3072, 4), (4096, 5)]);
}

#[test]
fn the_prefix_of_a_posix_header_comes_before_the_name() {
    let mut bytes = [file("name", "x"), end()].concat();
    bytes[345..348].copy_from_slice(b"dir");
    for (magic, name) in [(b"ustar\x0000", "dir/name"), (b"ustar  \0", "name")] {
        bytes[257..265].copy_from_slice(magic);
        seal(&mut bytes[..BLOCK_LEN_BYTES]);
        assert_eq!(found(&bytes), pairs(&[(name, "x")]));
    }
}

#[test]
fn pax_records_name_and_measure_the_next_file_only() {
    let bytes = [
        pax(b'x', "14 path=p/a/x\n10 size=5\n"),
        entry(b'0', "short", octal(0).as_bytes(), b"hello"),
        file("b", "plain"),
        end(),
    ]
    .concat();
    assert_eq!(found(&bytes), pairs(&[("p/a/x", "hello"), ("b", "plain")]));
}

#[test]
fn global_pax_records_hold_until_a_nearer_one() {
    let bytes = [
        pax(b'g', "12 path=all\n"),
        file("a", "1"),
        pax(b'x', "12 path=own\n"),
        file("b", "2"),
        file("c", "3"),
    ]
    .concat();
    assert_eq!(found(&bytes), pairs(&[("all", "1"), ("own", "2"), ("all", "3")]));
}

#[test]
fn malformed_pax_records_change_nothing() {
    for records in [
        "999 path=x\n",
        "3 path=x\n",
        "path=x\n",
        "10 path=xx\n",
        "9 path=x!",
        "0 \n",
        "10 size=z\n",
    ] {
        let bytes = [pax(b'x', records), file("a", "1")].concat();
        assert_eq!(found(&bytes), pairs(&[("a", "1")]), "{records:?}");
    }
}

#[test]
fn lengths_in_base_256_count_and_negative_ones_end_the_walk() {
    let mut len_bytes = [0_u8; 12];
    (len_bytes[0], len_bytes[11]) = (0x80, 3);
    let big = entry(b'0', "big", &len_bytes, b"abc");
    let negative = entry(b'0', "no", &[0xff; 12], b"");
    let endless =
        entry(b'0', "no", &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b"");
    let beyond = entry(b'0', "no", &[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], b"");
    for tail in [negative, endless, beyond, end()] {
        assert_eq!(found(&[&big[..], &tail].concat()), pairs(&[("big", "abc")]));
    }
}

#[test]
fn a_hard_link_with_a_length_has_a_content_only_if_no_header_follows() {
    let link = entry(b'1', "link", octal(5).as_bytes(), b"");
    let full = entry(b'1', "link", octal(5).as_bytes(), b"hello");
    let rest = [file("b", "2"), end()].concat();
    for link in [link.clone(), full] {
        assert_eq!(
            found(&[&file("a", "1")[..], &link, &rest].concat()),
            pairs(&[("a", "1"), ("b", "2")])
        );
    }
    assert_eq!(found(&[&file("a", "1")[..], &link].concat()), pairs(&[("a", "1")]));
}

#[test]
fn sparse_files_count_with_what_is_stored() {
    let mut sparse = entry(b'S', "sparse", octal(4).as_bytes(), b"");
    sparse[482] = 1;
    seal(&mut sparse);
    let mut map = vec![0; 1024];
    map[504] = 1;
    let bytes = [sparse, map, b"data".to_vec(), vec![0; 508], file("b", "2")].concat();
    assert_eq!(found(&bytes), pairs(&[("sparse", "data"), ("b", "2")]));
}

#[test]
fn the_walk_ends_at_garbage_and_at_a_file_cut_off() {
    let a = file("a", "1");
    let cut_off = entry(b'0', "b", octal(513).as_bytes(), b"half");
    for tail in [b"garbage!".repeat(200), cut_off, [end(), file("b", "2")].concat(), vec![1; 30]] {
        assert_eq!(found(&[&a[..], &tail].concat()), pairs(&[("a", "1")]));
    }
    assert_eq!(found(&a[..513]), pairs(&[("a", "1")]));
    assert_eq!(members(&end()), None);
    assert_eq!(members(&a[..511]), None);
    assert_eq!(members(&b"garbage!".repeat(200)), None);
}

#[test]
fn old_headers_may_sum_signed_bytes() {
    let mut bytes = entry(0, "\u{e9}", octal(1).as_bytes(), b"x");
    let sum: u32 = bytes[..512].iter().map(|&byte| u32::from(byte)).sum();
    let labelled: u32 = bytes[148..156].iter().map(|&byte| u32::from(byte)).sum();
    let signed = sum - labelled + 8 * 32 - 2 * 256;
    bytes[148..156].copy_from_slice(format!("{signed:06o}\0 ").as_bytes());
    assert_eq!(found(&bytes), pairs(&[("\u{e9}", "x")]));
}

#[test]
fn names_are_cut() {
    let long = "n".repeat(3000);
    let bytes = [pax(b'x', &format!("3011 path={long}\n")), file("a", "1")].concat();
    assert_eq!(found(&bytes), pairs(&[(&long[..1024], "1")]));
}

#[test]
fn damaged_archives_give_ranges_in_order_and_inside() {
    let odd = [
        pax(b'g', "13 comment=x\n"),
        pax(b'x', "12 path=own\n10 size=5\n"),
        entry(b'0', "short", octal(0).as_bytes(), b"hello"),
        entry(b'1', "link", octal(5).as_bytes(), b"hello"),
        entry(b'S', "sparse", octal(5).as_bytes(), b"hello"),
    ]
    .concat();
    let sealed = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.chunks_exact_mut(BLOCK_LEN_BYTES).step_by(2).for_each(seal);
        bytes
    };
    damaged(&[by_tar(&::tar::Header::new_gnu()), odd], |bytes| {
        assert_apart(bytes, &members(bytes).unwrap_or_default());
        let sealed = sealed(bytes);
        assert_apart(&sealed, &members(&sealed).unwrap_or_default());
    });
}
