//! The key that signs checkpoints of the audit log: a PKCS#8 file that only the controller's user may read, or a credential of
//! systemd. It is made once, by the first start; a key that is missing later is refused, because whoever took it away may have it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// A larger file is no key.
const KEY_BYTES_MAX: u64 = 8 * 1024;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not there, although the log knows one.
    #[error("the key {file} that signs the audit log is gone; put it back, or name where it is with audit.signing_key_file", file = .0.display())]
    Missing(PathBuf),
    /// It cannot be read or made.
    #[error("cannot {doing} the key {file}; it belongs to the controller's user, in a folder that is there", file = file.display())]
    Unusable {
        /// `read` or `make`.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others could sign.
    #[error("the key {file} has mode {found:04o}, and 0600 is wanted: others could sign in the name of this controller; chmod 600 it, \
             and change the key if somebody else may have read it", file = file.display())]
    Mode {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        found: u32,
    },
    /// Somebody else could change it.
    #[error("the key {file} belongs to user {found}; chown it to the controller's user", file = file.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: u32,
    },
    /// Not a file of its own, or not what is in it.
    #[error("{file} is not a private Ed25519 key as PKCS#8 PEM ({what}); make one with: openssl genpkey -algorithm ed25519", file = file.display())]
    NotAKey {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        what: String,
    },
}

/// Reads a key; nothing where there is none.
///
/// # Errors
/// It is there and may not be used.
pub fn read(file: &Path) -> Result<Option<SigningKey>, KeyError> {
    let unusable = |source| KeyError::Unusable { doing: "read", file: file.to_owned(), source };
    let plain = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = match OpenOptions::new().read(true).custom_flags(plain).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(KeyError::NotAKey { file: file.to_owned(), what: "a symbolic link".to_owned() });
        }
        opened => opened.map_err(unusable)?,
    };
    let about = opened.metadata().map_err(unusable)?;
    if !about.is_file() || about.len() > KEY_BYTES_MAX {
        return Err(KeyError::NotAKey { file: file.to_owned(), what: "not a small plain file".to_owned() });
    }
    check_access(file, about.mode() & 0o7777, about.uid())?;
    let mut text = Zeroizing::new(String::new());
    opened.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(unusable)?;
    let key = SigningKey::from_pkcs8_pem(text.trim());
    key.map(Some).map_err(|error| KeyError::NotAKey { file: file.to_owned(), what: error.to_string() })
}

/// Only its user may have it; a credential of systemd belongs to root, and nobody may write it.
fn check_access(file: &Path, mode: u32, owner: u32) -> Result<(), KeyError> {
    let ours = owner == rustix::process::geteuid().as_raw();
    if !ours && owner != 0 {
        return Err(KeyError::Owner { file: file.to_owned(), found: owner });
    }
    let (own, credential) = (mode & !0o600 == 0, owner == 0 && mode & !0o440 == 0);
    if own || credential { Ok(()) } else { Err(KeyError::Mode { file: file.to_owned(), found: mode }) }
}

/// Makes a key where none is.
///
/// # Errors
/// There is something already, or the folder cannot be written.
pub fn make(file: &Path) -> Result<SigningKey, KeyError> {
    let unusable = |source| KeyError::Unusable { doing: "make", file: file.to_owned(), source };
    let seed = Zeroizing::new(rand::random::<[u8; 32]>());
    let key = SigningKey::from_bytes(&seed);
    // Without the public half, which older readers of PKCS#8 do not expect.
    let bytes = KeypairBytes { secret_key: *seed, public_key: None };
    let pem = bytes.to_pkcs8_pem(LineEnding::LF).map_err(|error| unusable(io::Error::other(error.to_string())))?;
    write_new(file, pem.as_bytes()).map_err(unusable)?;
    Ok(key)
}

/// A crash leaves no half of a key under its name.
fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    made.write_all(bytes)?;
    made.sync_all()?;
    // A link fails where a name is taken; a rename would replace it.
    fs::hard_link(&new, file)?;
    fs::remove_file(&new)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(file: &Path, mode: u32) {
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_made_once_for_its_user_alone_and_openssl_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        assert!(read(&file).unwrap().is_none());
        let made = make(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read(&file).unwrap().unwrap().to_bytes(), made.to_bytes());
        assert!(make(&file).is_err(), "a key is never replaced");
        assert_eq!(read(&file).unwrap().unwrap().to_bytes(), made.to_bytes());
        let said = std::process::Command::new("openssl").args(["pkey", "-noout", "-text", "-in"]).arg(&file).output();
        if let Ok(said) = said {
            assert!(String::from_utf8_lossy(&said.stdout).to_ascii_uppercase().contains("ED25519"), "{said:?}");
        }
    }

    #[test]
    fn d16_a_key_that_others_may_read_is_refused_with_both_modes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        make(&file).unwrap();
        for wide in [0o644, 0o640, 0o660, 0o604, 0o700] {
            mode(&file, wide);
            let said = read(&file).unwrap_err().to_string();
            assert!(said.contains(&format!("{wide:04o}")) && said.contains("0600"), "{said}");
        }
        for narrow in [0o600, 0o400] {
            mode(&file, narrow);
            assert!(read(&file).is_ok());
        }
        if rustix::process::geteuid().is_root() {
            mode(&file, 0o440);
            assert!(read(&file).is_ok(), "a credential of systemd");
        }
    }

    #[test]
    fn what_is_no_key_is_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        fs::write(&file, "canary").unwrap();
        mode(&file, 0o600);
        let said = read(&file).unwrap_err().to_string();
        assert!(said.contains("not a private Ed25519 key") && !said.contains("canary"), "{said}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(read(&link).unwrap_err().to_string().contains("symbolic link"));
    }
}
