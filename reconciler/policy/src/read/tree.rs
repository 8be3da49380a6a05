//! From YAML events to nodes with places, refusing what is not part of the language.
//!
//! One pass, no recursion: depth and size are counted while events arrive, aliases are refused and never expanded.

mod ascii;
mod builder;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use saphyr_parser::{Event, Input, Marker, Parser, ScalarStyle, ScanError};

use super::limits::{DEPTH_MAX, DOCUMENTS_PER_FILE_MAX, NODES_PER_FILE_MAX};
use super::problem::{Code, Problems};
use super::text::is_plain;
use crate::model::Spot;
use ascii::Ascii;
use builder::Builder;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) at: Spot,
    pub(super) value: Value<'a>,
}

#[derive(Debug)]
pub(super) enum Value<'a> {
    Scalar {
        text: Cow<'a, str>,
        plain: bool,
    },
    List(Vec<Node<'a>>),
    Map(Vec<Entry<'a>>),
    /// There was a value; what is wrong with it has been told.
    Broken,
}

/// A key, where it stands, and its value.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) at: Spot,
    pub(super) value: Node<'a>,
}

impl Entry<'_> {
    /// Whether the key itself was refused, and what is wrong with it has been told.
    pub(super) fn is_refused(&self) -> bool {
        self.key.is_empty() && matches!(self.value.value, Value::Broken)
    }
}

/// Why the rest of a file is not read.
struct Stop;

/// The documents of a file, up to a syntax error.
pub(super) fn documents<'a>(text: &'a str, problems: &mut Problems) -> Vec<Node<'a>> {
    directives(text, problems);
    let mut documents = Vec::new();
    // The parser holds all of a flow collection on one line in memory before it tells of the first value.
    // A shorter text need not be counted.
    let long = text.len() > NODES_PER_FILE_MAX;
    let separators = if long { text.bytes().filter(|b| matches!(b, b',' | b'[' | b'{')).count() } else { 0 };
    if separators > NODES_PER_FILE_MAX {
        problems.add(
            Code::Limit,
            Spot::START,
            format!("the file has {separators} separators; NODES_PER_FILE_MAX is {NODES_PER_FILE_MAX}"),
        );
        return documents;
    }
    let before = text.contains('?').then_some(Before { text, chars: 0, bytes: 0 });
    let mut file = File { before, problems, nodes: 0, begun: 0 };
    if is_plain(text) {
        file.events(Parser::new(Ascii::new(text)), &mut documents);
    } else {
        file.events(Parser::new_from_str(text), &mut documents);
    }
    documents
}

struct File<'a, 'p> {
    before: Option<Before<'a>>,
    problems: &'p mut Problems,
    nodes: usize,
    begun: usize,
}

impl<'a> File<'a, '_> {
    /// Takes events as they come, up to the end or a syntax error.
    fn events<T: Input>(&mut self, mut parser: Parser<'a, T>, documents: &mut Vec<Node<'a>>) {
        let mut builder = Builder::default();
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => return self.syntax(&error),
            };
            if event == Event::StreamEnd {
                break;
            }
            match self.take(&mut builder, event, &span.start) {
                Ok(Some(document)) => documents.push(document),
                Ok(None) => {}
                Err(Stop) => return,
            }
        }
        if self.begun == 0 {
            let message = "no document here; remove the separator or the file";
            self.problems.add(Code::EmptyDocument, Spot::START, message.to_string());
        }
    }

    /// Adds an event; a finished document comes back.
    fn take(&mut self, builder: &mut Builder<'a>, event: Event<'a>, start: &Marker) -> Result<Option<Node<'a>>, Stop> {
        let at = spot(start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(None),
            Event::DocumentStart(_) => self.begin(at).map(|()| None),
            Event::DocumentEnd => Ok(builder.finish()),
            Event::Alias(_) => {
                self.feature(at, "aliases are not part of pci-segment/v1; write the value out");
                self.count(at)?;
                builder.value(Node { at, value: Value::Broken });
                Ok(None)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.marks(at, anchor, tag.is_some());
                self.count(at)?;
                let explicit = builder.wants_key() && self.is_explicit(start);
                builder.scalar(text, style == ScalarStyle::Plain, at, explicit, self.problems);
                Ok(None)
            }
            Event::SequenceStart(anchor, tag) => {
                self.marks(at, anchor, tag.is_some());
                self.count(at)?;
                builder.open(at, false, self.problems);
                self.depth(at, builder)
            }
            Event::MappingStart(anchor, tag) => {
                self.marks(at, anchor, tag.is_some());
                self.count(at)?;
                builder.open(at, true, self.problems);
                self.depth(at, builder)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                builder.close(self.problems);
                Ok(None)
            }
        }
    }

    fn begin(&mut self, at: Spot) -> Result<(), Stop> {
        self.begun += 1;
        if self.begun <= DOCUMENTS_PER_FILE_MAX {
            return Ok(());
        }
        self.limit(at, format!("document {} of the file; DOCUMENTS_PER_FILE_MAX is {DOCUMENTS_PER_FILE_MAX}", self.begun))
    }

    fn count(&mut self, at: Spot) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes <= NODES_PER_FILE_MAX {
            return Ok(());
        }
        self.limit(at, format!("the file has more than {NODES_PER_FILE_MAX} values; NODES_PER_FILE_MAX is {NODES_PER_FILE_MAX}"))
    }

    fn depth(&mut self, at: Spot, builder: &Builder<'_>) -> Result<Option<Node<'a>>, Stop> {
        let depth = builder.depth();
        if depth <= DEPTH_MAX {
            return Ok(None);
        }
        self.limit(at, format!("level {depth} of nesting; DEPTH_MAX is {DEPTH_MAX}")).map(|()| None)
    }

    fn limit(&mut self, at: Spot, message: String) -> Result<(), Stop> {
        self.problems.add(Code::Limit, at, message);
        Err(Stop)
    }

    fn marks(&mut self, at: Spot, anchor: usize, tag: bool) {
        if anchor > 0 {
            self.feature(at, "anchors are not part of pci-segment/v1; write the value out");
        }
        if tag {
            self.feature(at, "tags are not part of pci-segment/v1; write the value alone");
        }
    }

    fn feature(&mut self, at: Spot, message: &str) {
        self.problems.add(Code::YamlFeature, at, message.to_string());
    }

    /// Whether a key is written as `? key`. The parser does not tell, so the text before the key is looked at.
    fn is_explicit(&mut self, key: &Marker) -> bool {
        self.before.as_mut().is_some_and(|before| ends_in_question(before.up_to(key.index())))
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = spot(error.marker());
        let (code, message) = in_our_words(error.info());
        self.problems.add(code, at, message);
    }
}

/// The text before a place. Places come in order, so all together this walks the text once.
struct Before<'a> {
    text: &'a str,
    chars: usize,
    bytes: usize,
}

impl<'a> Before<'a> {
    fn up_to(&mut self, chars: usize) -> &'a str {
        let rest = self.text.get(self.bytes..).unwrap_or("");
        let step = chars.saturating_sub(self.chars);
        self.bytes += rest.char_indices().nth(step).map_or(rest.len(), |(i, _)| i);
        self.chars = self.chars.max(chars);
        self.text.get(..self.bytes).unwrap_or("")
    }
}

/// Whether the last thing in the text is the indicator `?`, on the same line or alone on an earlier one.
fn ends_in_question(before: &str) -> bool {
    let same_line = before.trim_end_matches(' ');
    let earlier = same_line.trim_end();
    let Some(rest) = earlier.strip_suffix('?') else {
        return false;
    };
    if same_line.len() == earlier.len() {
        return rest.is_empty() || rest.ends_with([' ', '\n', '{', ',', '[']);
    }
    let indent = rest.trim_end_matches(' ');
    indent.is_empty() || indent.ends_with('\n')
}

/// The parser's complaint in our words.
fn in_our_words(info: &str) -> (Code, String) {
    let feature = |what: &str| (Code::YamlFeature, format!("{what} are not part of pci-segment/v1; write the value out"));
    if info.contains("recursion limit") {
        return (Code::Limit, format!("more than 255 levels of nesting; DEPTH_MAX is {DEPTH_MAX}"));
    }
    if info.contains("anchor") {
        return feature("anchors and aliases");
    }
    if info.contains("tag") || info.contains("TAG") || info.contains("handle") {
        return feature("tags");
    }
    if info.contains("directive") {
        return feature("directives");
    }
    (Code::YamlSyntax, format!("not YAML: {}", info.trim_start_matches("while ")))
}

/// `%YAML` and `%TAG`: a line that begins with `%` has no other use in the language.
fn directives(text: &str, problems: &mut Problems) {
    if !text.starts_with('%') && !text.contains("\n%") {
        return;
    }
    for (number, _) in text.lines().enumerate().filter(|(_, line)| line.starts_with('%')) {
        let message = "directives are not part of pci-segment/v1; remove the line";
        problems.add(Code::YamlFeature, Spot::new(number + 1, 1), message.to_string());
    }
}

fn spot(marker: &Marker) -> Spot {
    Spot::new(marker.line(), marker.col() + 1)
}
