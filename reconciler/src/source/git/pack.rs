//! Packs of a few whole objects, for what is pushed.

use std::io::Write as _;

use gix::hash;
use gix::objs::Kind;

use crate::converge::SourceError;
use crate::source::refused;

/// An object that is to be sent.
pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
}

/// A pack of them: <https://git-scm.com/docs/gitformat-pack>.
pub(crate) fn pack(made: &[Made], format: hash::Kind) -> Result<Vec<u8>, SourceError> {
    let failed = |error: &dyn std::fmt::Display| refused(format!("cannot pack a note: {error}"));
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(made.len()).unwrap_or(u32::MAX).to_be_bytes());
    for Made { kind, bytes } in made {
        let kind: u8 = match kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        let mut left = bytes.len() >> 4;
        let low = u8::try_from(bytes.len() & 0x0f).unwrap_or(0);
        pack.push((kind << 4) | low | if left > 0 { 0x80 } else { 0 });
        while left > 0 {
            let low = u8::try_from(left & 0x7f).unwrap_or(0);
            left >>= 7;
            pack.push(low | if left > 0 { 0x80 } else { 0 });
        }
        let mut deflate = flate2::write::ZlibEncoder::new(pack, flate2::Compression::default());
        deflate.write_all(bytes).map_err(|error| failed(&error))?;
        pack = deflate.finish().map_err(|error| failed(&error))?;
    }
    let mut hasher = hash::hasher(format);
    hasher.update(&pack);
    let sum = hasher.try_finalize().map_err(|error| failed(&error))?;
    pack.extend_from_slice(sum.as_bytes());
    Ok(pack)
}
