//! The header of a commit object, read strictly, and what its signature was made over.

use super::Refusal;

/// Names of the header line that holds a signature, for either object format.
const SIGNATURE_NAMES: [&[u8]; 2] = [b"gpgsig", b"gpgsig-sha256"];

/// A commit and its signature.
pub(super) struct Parsed {
    /// Without the blanks that continue a header line.
    pub(super) signature: Option<Vec<u8>>,
    /// The object without the signature's header.
    pub(super) payload: Vec<u8>,
}

/// What may come next in a header: each name has one place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Tree,
    Parents,
    Committer,
    Others,
}

impl Parsed {
    /// Reads the object.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let (mut place, mut signature, mut in_signature) = (Place::Tree, None::<Vec<u8>>, false);
        let mut payload = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| malformed("its header does not end"))?;
            let (line, after) = rest.split_at(end.saturating_add(1));
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if text.is_empty() {
                break;
            }
            if text.contains(&0) {
                return Err(malformed("its header holds a zero byte"));
            }
            rest = after;
            if let Some(continued) = text.strip_prefix(b" ") {
                if place != Place::Others {
                    return Err(malformed("a line is continued where none may be"));
                }
                if let Some(lines) = signature.as_mut().filter(|_| in_signature) {
                    lines.push(b'\n');
                    lines.extend_from_slice(continued);
                    continue;
                }
            } else {
                let (name, value) = split(text);
                place = next(place, name)?;
                in_signature = SIGNATURE_NAMES.contains(&name);
                if in_signature {
                    if signature.replace(value.to_vec()).is_some() {
                        return Err(malformed("it has more than one signature"));
                    }
                    continue;
                }
            }
            payload.extend_from_slice(line);
        }
        if place != Place::Others {
            return Err(malformed("it lacks a tree, an author or a committer"));
        }
        payload.extend_from_slice(rest);
        Ok(Self { signature: signature.map(|lines| [lines.trim_ascii_end(), b"\n"].concat()), payload })
    }
}

fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (name, value) = line.split_at(at);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

fn next(place: Place, name: &[u8]) -> Result<Place, Refusal> {
    match (place, name) {
        (Place::Tree, b"tree") | (Place::Parents, b"parent") => Ok(Place::Parents),
        (Place::Parents, b"author") => Ok(Place::Committer),
        (Place::Committer, b"committer") => Ok(Place::Others),
        (_, b"tree") => Err(malformed("it has more than one tree, or one in the wrong place")),
        (_, b"parent") => Err(malformed("a parent is in the wrong place")),
        (_, b"author") => Err(malformed("it has more than one author, or one in the wrong place")),
        (_, b"committer") => Err(malformed("it has more than one committer, or one in the wrong place")),
        (Place::Others, _) => Ok(Place::Others),
        (Place::Tree | Place::Parents | Place::Committer, _) => Err(malformed("it lacks a tree, an author or a committer")),
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::Malformed(what.to_owned())
}
