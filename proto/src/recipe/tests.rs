use super::*;

fn part(place: Place) -> Part {
    Part { chunk: ChunkId::of(b"c"), len_bytes: 5, place }
}

fn recipe(nodes: &[Node], len_bytes: u64) -> Recipe {
    Recipe::new(BlobId::of(b"b"), len_bytes, nodes)
}

fn what(nodes: &[Node], len_bytes: u64) -> &'static str {
    match recipe(nodes, len_bytes).nodes() {
        Err(RecipeError::Inconsistent { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

fn coded(bases: Vec<u32>, payload: u32) -> Node {
    let codec = Codec::SuffixLzma;
    Node::Coded(Coded { codec, bases, payload, len_bytes: 7, decode_memory_bytes: 1 << 20 })
}

fn reseal(pool: u32, leaves: Vec<u32>, corrections: Option<u32>) -> Node {
    let encoders = vec![("zlib-1.3/L6".to_owned(), 3)];
    let decode_memory_bytes = 1 << 20;
    Node::Reseal(Reseal { pool, leaves, encoders, corrections, len_bytes: 10, decode_memory_bytes })
}

/// One node of every kind.
fn all_kinds() -> Vec<Node> {
    vec![
        Node::Blob(BlobId::of(b"old")),
        Node::View { blob: 0, view: View::Leaf(3), len_bytes: 9 },
        Node::Bytes(b"payload".to_vec()),
        coded(vec![1, 0], 2),
        Node::Concat(vec![
            part(Place::Node { node: 0, offset: 7 }),
            part(Place::Pack { pack: 3, offset: 1 << 33 }),
        ]),
        reseal(2, vec![3, 1], Some(4)),
    ]
}

#[test]
fn a_recipe_keeps_its_nodes_over_the_wire() {
    let nodes = all_kinds();
    let bytes = crate::cbor::encode(&recipe(&nodes, 10));
    let read: Recipe = crate::cbor::decode(&bytes).unwrap();
    assert_eq!(read.nodes().unwrap(), nodes);
    assert_eq!(read.bases().collect::<Vec<_>>(), [BlobId::of(b"old")]);
}

#[test]
fn every_view_is_kept_over_the_wire() {
    for view in [View::Pool, View::Leaf(1), View::Puffed(2), View::Sealed(3)] {
        let nodes = [Node::Blob(BlobId::of(b"old")), Node::View { blob: 0, view, len_bytes: 4 }];
        assert_eq!(recipe(&nodes, 4).nodes().unwrap(), nodes);
    }
}

#[test]
fn an_empty_blob_is_a_concat_of_nothing() {
    assert_eq!(recipe(&[Node::Concat(vec![])], 0).nodes(), Ok(vec![Node::Concat(vec![])]));
}

#[test]
fn an_unknown_node_is_refused_by_its_name() {
    let mut newer = recipe(&[Node::Concat(vec![])], 0);
    newer.nodes[0].name = "go-addresses-1".to_owned();
    let expected = RecipeError::UnknownNode { blob: newer.blob, name: "go-addresses-1".to_owned() };
    assert_eq!(newer.nodes(), Err(expected));
}

#[test]
fn a_node_cannot_refer_to_itself_or_forward() {
    let later = "a node refers to itself or to a later one";
    let own = Node::Concat(vec![part(Place::Node { node: 0, offset: 0 })]);
    assert_eq!(what(&[own], 5), later);
    let bytes = || Node::Bytes(b"p".to_vec());
    for forward in [
        coded(vec![1], 0),
        coded(vec![0], 2),
        reseal(1, vec![], None),
        reseal(0, vec![1], None),
        reseal(0, vec![], Some(1)),
        Node::View { blob: 1, view: View::Pool, len_bytes: 7 },
    ] {
        assert_eq!(what(&[bytes(), forward.clone()], 7), later, "{forward:?}");
    }
}

#[test]
fn a_node_refers_only_to_what_it_can_use() {
    let blob = || Node::Blob(BlobId::of(b"old"));
    let view_of_bytes = Node::View { blob: 0, view: View::Pool, len_bytes: 7 };
    assert_eq!(what(&[Node::Bytes(vec![1]), view_of_bytes], 7), "a view is of no blob");
    assert_eq!(what(&[blob(), coded(vec![0], 0)], 7), "a payload is none");
    let bases = vec![0; limits::RECIPE_BASES_MAX + 1];
    let payload = Node::Bytes(vec![1]);
    assert_eq!(what(&[payload.clone(), coded(bases, 0)], 7), "a stream has too many bases");
    assert_eq!(what(&[payload, blob(), reseal(0, vec![], Some(1))], 10), "corrections are a blob");
}

#[test]
fn the_last_node_is_the_blob_in_its_length() {
    let one = Node::Concat(vec![part(Place::Pack { pack: 1, offset: 0 })]);
    assert_eq!(what(std::slice::from_ref(&one), 6), "its last node has another length");
    assert_eq!(what(&[], 0), "it has no node");
    assert_eq!(what(&[Node::Blob(BlobId::of(b"x"))], 0), "it renames another blob");
    let mut short = recipe(&[one], 5);
    short.nodes[0].parts.as_mut().unwrap().offsets.clear();
    let inconsistent =
        RecipeError::Inconsistent { blob: short.blob, what: "its columns differ in length" };
    assert_eq!(short.nodes(), Err(inconsistent));
}

#[test]
fn a_node_without_its_fields_is_refused() {
    for node in all_kinds() {
        let mut bare = recipe(&[node], 10);
        bare.nodes[0] = NodeWire::bare(&bare.nodes[0].name);
        let what = "a node lacks its fields";
        assert_eq!(bare.nodes(), Err(RecipeError::Inconsistent { blob: bare.blob, what }));
    }
}

#[test]
fn a_chunk_is_accepted_up_to_its_bound_and_not_beyond() {
    let of_len = |len_bytes| {
        let part = Part { len_bytes, ..part(Place::Pack { pack: 1, offset: 0 }) };
        recipe(&[Node::Concat(vec![part])], u64::from(len_bytes)).nodes().is_ok()
    };
    let max = limits::CHUNK_LEN_BYTES_MAX;
    assert_eq!([0, 1, max, max + 1].map(of_len), [false, true, true, false]);
}

#[test]
fn bytes_in_a_recipe_and_lengths_of_nodes_are_bounded() {
    let of_len = |len: usize| recipe(&[Node::Bytes(vec![0; len])], len as u64).nodes().is_ok();
    let max = limits::RECIPE_BYTES_LEN_MAX;
    assert_eq!([max, max + 1].map(of_len), [true, false]);
    let vast = |len_bytes| {
        let view = Node::View { blob: 0, view: View::Pool, len_bytes };
        recipe(&[Node::Blob(BlobId::of(b"old")), view], len_bytes).nodes().is_ok()
    };
    let max = limits::BLOB_LEN_BYTES_MAX;
    assert_eq!([max, max + 1].map(vast), [true, false]);
}
