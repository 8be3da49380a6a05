//! Signatures as `ssh-keygen -Y sign -n git` makes them.

use jiff::Timestamp;
use ssh_key::{HashAlg, PublicKey, SshSig};

use super::{Refusal, Signer, Signers};

/// What commits are signed for.
const NAMESPACE: &str = "git";

/// Who made this signature of this text.
pub(super) fn verify(signature: &[u8], text: &[u8], signers: &Signers, first_seen: Timestamp) -> Result<Signer, Refusal> {
    let unreadable = |_| Refusal::Mismatch { key: String::new(), detail: "it cannot be read" };
    let signature = SshSig::from_pem(signature).map_err(unreadable)?;
    let public = PublicKey::from(signature.public_key().clone());
    let key = public.fingerprint(HashAlg::Sha256).to_string();
    if signature.namespace() != NAMESPACE {
        let namespace: String = signature.namespace().chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(Refusal::WrongNamespace { namespace, key });
    }
    let mut entries = signers.ssh.iter().filter(|entry| entry.key == *public.key_data()).peekable();
    if entries.peek().is_none() {
        return Err(Refusal::UnknownKey { key });
    }
    if public.verify(NAMESPACE, text, &signature).is_err() {
        return Err(Refusal::Mismatch { key, detail: "it is not of this commit" });
    }
    let mut refusal = Refusal::NotAllowed { key: key.clone(), detail: "is listed for other namespaces than `git`" };
    for entry in entries.filter(|entry| entry.namespaces.as_ref().is_none_or(|names| names.iter().any(|n| n == NAMESPACE))) {
        if entry.after.is_none_or(|after| after <= first_seen) && entry.before.is_none_or(|before| first_seen < before) {
            return Ok(Signer { kind: "ssh", principal: entry.principals.clone(), key });
        }
        refusal = Refusal::Expired { key: key.clone() };
    }
    Err(refusal)
}
