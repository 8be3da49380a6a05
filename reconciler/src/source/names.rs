//! Which names may stand in a policy repository, and how the others are shown.
//!
//! A name is refused when two readers could understand it differently (not UTF-8, not composed, only another case), when it
//! could fool a person who looks at it (control and direction characters), or when some file system would take it for something
//! else (`.git` in any spelling, separators).

use gix::bstr::{BStr, ByteSlice};
use unicode_normalization::is_nfc;

use super::limits::NAME_BYTES_MAX;

/// True for the names of policy documents.
pub(crate) fn is_document(name: &str) -> bool {
    name.ends_with(".yaml") || name.ends_with(".yml")
}

/// Decodes the name of a tree entry or of a file in a folder.
///
/// # Errors
/// Why the name is refused.
pub(crate) fn decode(raw: &[u8]) -> Result<&str, String> {
    if raw.len() > NAME_BYTES_MAX {
        return Err(format!("its name has {} bytes; the limit is {NAME_BYTES_MAX}", raw.len()));
    }
    let name = std::str::from_utf8(raw).map_err(|_| "its name is not UTF-8".to_owned())?;
    if name.chars().any(deceives) {
        return Err("its name holds control or direction characters".to_owned());
    }
    if name.contains(['/', '\\']) {
        return Err("its name holds a slash or a backslash".to_owned());
    }
    let options = gix::validate::path::component::Options { protect_windows: false, protect_hfs: true, protect_ntfs: true };
    gix::validate::path::component(BStr::new(raw), None, options)
        .map_err(|_| "its name is reserved by Git or means another folder".to_owned())?;
    if !is_nfc(name) {
        return Err("its name is not in Unicode normal form C".to_owned());
    }
    Ok(name)
}

/// A path that is safe to show anywhere: every byte outside printable ASCII is written as an escape.
pub(crate) fn escape(raw: &[u8]) -> String {
    let shown = raw.get(..NAME_BYTES_MAX).unwrap_or(raw);
    let cut = if shown.len() < raw.len() { "..." } else { "" };
    format!("{}{cut}", shown.as_bstr().escape_ascii())
}

fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_in_any_script_are_taken() {
        for name in ["policy.yaml", "con.yaml", "größe.yml", "政策.yaml", "a b.yaml", ".hidden"] {
            assert_eq!(decode(name.as_bytes()), Ok(name));
        }
    }

    #[test]
    fn g01_names_that_mean_another_place_are_refused() {
        for name in ["..", ".", ".git", ".GIT", "git~1", ".g\u{200c}it", "a/b", "a\\b", ""] {
            assert!(decode(name.as_bytes()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn g03_names_that_deceive_are_refused_and_shown_escaped() {
        for name in
            [b"a\xff.yaml".as_slice(), b"a\n.yaml", b"\x1b[2Ja.yaml", "a\u{202e}lmay.yaml".as_bytes(), "e\u{301}.yaml".as_bytes()]
        {
            assert!(decode(name).is_err(), "{}", escape(name));
            assert!(escape(name).bytes().all(|b| (0x20..0x7f).contains(&b)));
        }
        assert!(decode(&[b'a'; 256]).unwrap_err().contains("256 bytes"));
    }
}
