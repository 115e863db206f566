//! Reads XML as a stream, within bounds.
//!
//! In:    bytes as they are unpacked.
//! Out:   elements with their attributes, and the text between them.
//! Never: a document type that declares anything (so no entity but the five of XML itself; that of
//!        `comps.xml` only names a file, which nobody reads), and no piece of markup or text longer
//!        than [`PIECE_LEN_BYTES_MAX`] in memory.
//!
//! Names lose their prefix: repositories use one vocabulary, and some tools write other prefixes.

use std::{
    borrow::Cow,
    io::{self, BufRead, Read},
};

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

/// Longest tag, comment or run of text, in bytes: 1 MiB. The longest description of Fedora has
/// 20 KiB.
const PIECE_LEN_BYTES_MAX: usize = 1 << 20;

/// Most elements inside each other; repository metadata has 6.
const DEPTH_MAX: usize = 32;

/// Why a document is not used.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    #[error("cannot unpack or read it as XML")]
    Markup(#[source] Box<quick_xml::Error>),
    #[error("it declares entities or the like; repository metadata does not")]
    DocumentType,
    #[error("it refers to {0:?}, which XML does not define")]
    Entity(String),
    #[error("an attribute of <{0}> is not understood")]
    Attribute(String),
    #[error("its elements stand more than {DEPTH_MAX} deep in each other")]
    Deep,
    #[error("it ends inside an element")]
    Short,
    #[error("it begins with <{actual}>, not <{expected}>")]
    Root { expected: &'static str, actual: String },
    #[error("{what}: {value:?}")]
    Value { what: &'static str, value: String },
    #[error("it has more than {max} {what}")]
    TooMany { what: &'static str, max: usize },
}

impl XmlError {
    /// Says which value is wrong, and shows its beginning.
    pub fn value(what: &'static str, value: &str) -> Self {
        Self::Value { what, value: value.chars().take(200).collect() }
    }
}

/// What comes next in a document.
#[derive(Debug)]
pub enum Item {
    Open(Tag),
    /// The element that is open ends; at the depth that remains.
    Close,
    End,
}

/// An element's name and attributes.
#[derive(Debug)]
pub struct Tag(BytesStart<'static>);

impl Tag {
    /// The name without prefix.
    pub fn name(&self) -> &str {
        let name = self.0.name().into_inner();
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    }

    /// Calls `each` with the name and the value of each attribute.
    ///
    /// # Errors
    ///
    /// [`XmlError::Attribute`].
    pub fn attributes(&self, mut each: impl FnMut(&str, Cow<'_, str>)) -> Result<(), XmlError> {
        let bad = || XmlError::Attribute(self.name().chars().take(200).collect());
        let mut attributes = self.0.attributes();
        for attribute in attributes.with_checks(false) {
            let attribute = attribute.map_err(|_| bad())?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| bad())?;
            each(attribute.key.into_inner(), value);
        }
        Ok(())
    }

    /// The value of one attribute.
    ///
    /// # Errors
    ///
    /// [`XmlError::Attribute`].
    pub fn attribute(&self, wanted: &str) -> Result<Option<String>, XmlError> {
        let mut found = None;
        self.attributes(|name, value| {
            if name == wanted {
                found = Some(value.into_owned());
            }
        })?;
        Ok(found)
    }
}

/// A document on its way.
pub struct Xml<R> {
    reader: Reader<Gauge<R>>,
    buffer: Vec<u8>,
    depth: usize,
}

impl<R: BufRead> Xml<R> {
    /// Begins a document whose outermost element is `root`.
    ///
    /// # Errors
    ///
    /// [`XmlError`].
    pub fn begin(inner: R, root: &'static str) -> Result<Self, XmlError> {
        let mut reader = Reader::from_reader(Gauge { inner, left: 0 });
        reader.config_mut().expand_empty_elements = true;
        let mut xml = Self { reader, buffer: Vec::new(), depth: 0 };
        match xml.item()? {
            Item::Open(tag) if tag.name() == root => Ok(xml),
            Item::Open(tag) => {
                let actual = tag.name().chars().take(200).collect();
                Err(XmlError::Root { expected: root, actual })
            }
            Item::Close | Item::End => Err(XmlError::Short),
        }
    }

    /// How many elements are open.
    pub const fn depth(&self) -> usize {
        self.depth
    }

    /// How many bytes of the document were read.
    pub fn position(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// The next beginning or end of an element; text between them is passed over.
    ///
    /// # Errors
    ///
    /// [`XmlError`].
    pub fn item(&mut self) -> Result<Item, XmlError> {
        loop {
            self.buffer.clear();
            self.reader.get_mut().left = PIECE_LEN_BYTES_MAX;
            match self.reader.read_event_into(&mut self.buffer).map_err(markup)? {
                Event::Start(_) if DEPTH_MAX <= self.depth => return Err(XmlError::Deep),
                Event::Start(start) => {
                    self.depth += 1;
                    return Ok(Item::Open(Tag(start.into_owned())));
                }
                Event::End(_) => {
                    self.depth = self.depth.checked_sub(1).ok_or(XmlError::Short)?;
                    return Ok(Item::Close);
                }
                Event::Eof if self.depth == 0 => return Ok(Item::End),
                Event::Eof => return Err(XmlError::Short),
                Event::DocType(kind) if kind.contains('[') => return Err(XmlError::DocumentType),
                _ => {}
            }
        }
    }

    /// The text of the element that has just been opened, to its end; elements in it count for
    /// their text.
    ///
    /// # Errors
    ///
    /// [`XmlError`].
    pub fn text(&mut self) -> Result<String, XmlError> {
        let mut text = String::new();
        let outside = self.depth.saturating_sub(1);
        while outside < self.depth {
            self.buffer.clear();
            let gauge = self.reader.get_mut();
            gauge.left = PIECE_LEN_BYTES_MAX.saturating_sub(text.len());
            match self.reader.read_event_into(&mut self.buffer).map_err(markup)? {
                Event::Start(_) if DEPTH_MAX <= self.depth => return Err(XmlError::Deep),
                Event::Start(_) => self.depth += 1,
                Event::End(_) => self.depth -= 1,
                Event::Text(piece) => text.push_str(&piece.xml10_content()),
                Event::CData(piece) => text.push_str(&piece.xml10_content()),
                Event::GeneralRef(reference) => {
                    let name = reference.into_inner();
                    let known = resolve(&name).ok_or_else(|| XmlError::Entity(name.into()))?;
                    text.push(known);
                }
                Event::DocType(kind) if kind.contains('[') => return Err(XmlError::DocumentType),
                Event::Eof => return Err(XmlError::Short),
                _ => {}
            }
        }
        Ok(text)
    }

    /// Passes over the element that has just been opened.
    ///
    /// # Errors
    ///
    /// [`XmlError`].
    pub fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.depth.saturating_sub(1);
        while outside < self.depth {
            self.item()?;
        }
        Ok(())
    }
}

fn markup(error: quick_xml::Error) -> XmlError {
    XmlError::Markup(Box::new(error))
}

/// The character that a reference stands for (XML 1.0, sections 4.1 and 4.6).
fn resolve(name: &str) -> Option<char> {
    let number = |digits: &str, radix| {
        u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(|c| *c != '\0')
    };
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = name.strip_prefix('#')?;
            digits.strip_prefix('x').map_or_else(|| number(digits, 10), |hex| number(hex, 16))
        }
    }
}

/// Ends a document whose pieces are too long for memory.
struct Gauge<R> {
    inner: R,
    left: usize,
}

impl<R: BufRead> Read for Gauge<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Gauge<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            let what = format!("a piece has more than {PIECE_LEN_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        // A block may be handed out once beyond what is left; blocks are short.
        self.left = self.left.saturating_sub(len);
        self.inner.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &str) -> Result<Vec<(String, String)>, XmlError> {
        let mut xml = Xml::begin(document.as_bytes(), "r")?;
        let mut found = Vec::new();
        loop {
            let name = match xml.item()? {
                Item::Open(tag) => tag.name().to_owned(),
                Item::Close => continue,
                Item::End => return Ok(found),
            };
            found.push((name, xml.text()?));
        }
    }

    #[test]
    fn text_is_put_together_from_its_pieces() {
        let document = "<?xml version=\"1.0\"?><p:r xmlns:p='u'><p:a>1 &lt; <!-- no -->2 &#x26; \
            <![CDATA[<3>]]></p:a><b/><c k='v'>x<d>y</d></c></p:r>";
        let expected = [("a", "1 < 2 & <3>"), ("b", ""), ("c", "xy")];
        let found = texts(document).unwrap();
        let found: Vec<_> = found.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn hostile_documents_end_with_an_error() {
        let laughs = "<!DOCTYPE r [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><r><x>&b;</x></r>";
        assert!(matches!(texts(laughs).unwrap_err(), XmlError::DocumentType));
        assert!(matches!(texts("<r><x>&b;</x></r>").unwrap_err(), XmlError::Entity(_)));
        let named = "<!DOCTYPE r PUBLIC \"-//X//Y\" \"file:///etc/passwd\"><r><x>&b;</x></r>";
        assert!(matches!(texts(named).unwrap_err(), XmlError::Entity(_)));
        assert!(matches!(texts("<r><x>&#0;</x></r>").unwrap_err(), XmlError::Entity(_)));
        assert!(matches!(texts("<r><x>").unwrap_err(), XmlError::Short));
        assert!(matches!(texts("<r><x></y></r>").unwrap_err(), XmlError::Markup(_)));
        assert!(matches!(texts("<html></html>").unwrap_err(), XmlError::Root { .. }));
        assert!(texts("").is_err() && texts("\0\0").is_err() && texts("<r").is_err());
        let deep = format!("<r>{}", "<x>".repeat(100_000));
        assert!(matches!(texts(&deep).unwrap_err(), XmlError::Deep));
        for long in ["<r><x>", "<r><!--", "<r k='"] {
            let reader = io::BufReader::new(io::Read::chain(
                long.as_bytes(),
                io::Read::take(io::repeat(b'x'), 100 << 20),
            ));
            let read = Xml::begin(reader, "r").and_then(|mut xml| {
                xml.item()?;
                xml.text()
            });
            assert!(matches!(read.unwrap_err(), XmlError::Markup(_)), "{long}");
        }
    }
}
