//! Signatures as `gpg --detach-sign` makes them.
//!
//! A key signs commits if its owner says so in the newest self-signature that holds: flags, expiry, and for a subkey the signature
//! back from it. Anything that revokes a key counts without being verified, as the list is ours and to refuse is safe. So it does in
//! whichever copy of the certificate it is: an old file that was left beside a newer one takes nothing back.

use jiff::Timestamp;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};

use super::{Refusal, Signer, Signers};

/// Who made this signature of this text.
pub(super) fn verify(signature: &[u8], text: &[u8], signers: &Signers, first_seen: Timestamp) -> Result<Signer, Refusal> {
    let mismatch = |key: &str, detail| Refusal::Mismatch { key: key.to_owned(), detail };
    let signature = only_one(signature).ok_or_else(|| mismatch("", "it cannot be read"))?;
    let Some(found) = Found::among(&signers.openpgp, &signature) else {
        let named = signature.issuer_fingerprint().first().map(|print| print.to_string().to_uppercase());
        let named = named.or_else(|| signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase()));
        return Err(Refusal::UnknownKey { key: named.unwrap_or_else(|| "that is not named".to_owned()) });
    };
    let key = found.fingerprint();
    let strong = matches!(signature.hash_alg(), Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512));
    if !strong || !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(mismatch(&key, "its kind or hash is not accepted; sign with SHA-256 or SHA-512"));
    }
    let matches = match found.subkey {
        Some(subkey) => signature.verify(subkey, text),
        None => signature.verify(found.primary, text),
    };
    if matches.is_err() {
        return Err(mismatch(&key, "it is not of this commit"));
    }
    found.may_sign(first_seen)?;
    if expired(signature.created().map_or(0, pgp::types::Timestamp::as_secs), signature.signature_expiration_time(), first_seen) {
        return Err(Refusal::Expired { key });
    }
    Ok(Signer { kind: "openpgp", principal: found.principal(), key })
}

fn only_one(armored: &[u8]) -> Option<Signature> {
    let (mut found, _) = DetachedSignature::from_armor_many(armored).ok()?;
    let first = found.next()?.ok()?;
    found.next().is_none().then_some(first.signature)
}

/// The key that a signature names.
struct Found<'a> {
    primary: &'a PublicKey,
    /// The primary key, if none.
    subkey: Option<&'a PublicSubkey>,
    /// Every copy of its certificate.
    copies: Vec<&'a SignedPublicKey>,
    revoked: bool,
}

impl<'a> Found<'a> {
    fn among(keys: &'a [SignedPublicKey], signature: &Signature) -> Option<Self> {
        let mut holders = keys.iter().filter_map(|owner| Self::in_key(owner, signature));
        let mut found = holders.next()?;
        for other in holders.filter(|other| other.print() == found.print()).collect::<Vec<_>>() {
            found.revoked |= other.revoked;
            // What another primary key says of the same subkey is no more than that it is revoked.
            if other.primary.fingerprint() == found.primary.fingerprint() {
                found.copies.extend(other.copies);
            }
        }
        Some(found)
    }

    fn in_key(owner: &'a SignedPublicKey, signature: &Signature) -> Option<Self> {
        let prints = signature.issuer_fingerprint();
        let named = |key: &dyn Named| match prints.first() {
            Some(print) => key.print() == print.as_bytes(),
            None => signature.issuer_key_id().iter().any(|id| key.id() == id.as_ref()),
        };
        let (primary, copies, revoked) = (&owner.primary_key, vec![owner], !owner.details.revocation_signatures.is_empty());
        if named(primary) {
            return Some(Self { primary, subkey: None, copies, revoked });
        }
        let subkey = owner.public_subkeys.iter().find(|subkey| named(&subkey.key))?;
        let revokes = |signature: &Signature| signature.typ() == Some(SignatureType::SubkeyRevocation);
        let revoked = revoked || subkey.signatures.iter().any(revokes);
        Some(Self { primary, subkey: Some(&subkey.key), copies, revoked })
    }

    fn print(&self) -> Vec<u8> {
        self.subkey.map_or_else(|| Named::print(self.primary), Named::print)
    }

    fn fingerprint(&self) -> String {
        let print = self.subkey.map_or_else(|| self.primary.fingerprint(), KeyDetails::fingerprint);
        print.to_string().to_uppercase()
    }

    fn principal(&self) -> String {
        let id = self.copies.iter().flat_map(|owner| &owner.details.users).next();
        let plain = id.map_or_else(|| "no user id".to_owned(), |user| String::from_utf8_lossy(user.id.id()).into_owned());
        plain.chars().filter(|c| !c.is_control()).take(200).collect()
    }

    fn may_sign(&self, first_seen: Timestamp) -> Result<(), Refusal> {
        let key = self.fingerprint();
        let refused = |detail| Refusal::NotAllowed { key: key.clone(), detail };
        if self.revoked {
            return Err(refused("is revoked"));
        }
        let own = newest(self.self_signatures()).ok_or_else(|| refused("has no valid self-signature"))?;
        if expired(self.primary.created_at().as_secs(), own.key_expiration_time(), first_seen) {
            return Err(Refusal::Expired { key });
        }
        let Some(subkey) = self.subkey else {
            return if own.key_flags().sign() { Ok(()) } else { Err(refused("is not a key for signing")) };
        };
        let bound = newest(self.bindings(subkey)).ok_or_else(|| refused("is not bound to its primary key"))?;
        let back = bound.embedded_signature().is_some_and(|back| back.verify_primary_key_binding(subkey, self.primary).is_ok());
        if !bound.key_flags().sign() || !back {
            return Err(refused("is not a key for signing"));
        }
        if expired(subkey.created_at().as_secs(), bound.key_expiration_time(), first_seen) {
            return Err(Refusal::Expired { key });
        }
        Ok(())
    }

    /// What the primary key says of itself and holds.
    fn self_signatures(&self) -> impl Iterator<Item = &'a Signature> {
        let primary = self.primary;
        self.copies.iter().flat_map(move |owner| {
            let of_users = owner.details.users.iter().flat_map(move |user| {
                let certifies = |one: &&Signature| one.typ() != Some(SignatureType::CertRevocation);
                let holds = move |one: &&Signature| one.verify_certification(primary, Tag::UserId, &user.id).is_ok();
                user.signatures.iter().filter(certifies).filter(holds)
            });
            of_users.chain(owner.details.direct_signatures.iter().filter(move |one| one.verify_key(primary).is_ok()))
        })
    }

    /// What the primary key says of this subkey and holds.
    fn bindings(&self, subkey: &'a PublicSubkey) -> impl Iterator<Item = &'a Signature> {
        let primary = self.primary;
        let same = self.copies.iter().flat_map(|owner| &owner.public_subkeys);
        let same = same.filter(move |other| Named::print(&other.key) == Named::print(subkey));
        same.flat_map(|other| &other.signatures).filter(move |one| one.verify_subkey_binding(primary, subkey).is_ok())
    }
}

/// What a primary key and a subkey have in common here.
trait Named {
    fn print(&self) -> Vec<u8>;
    fn id(&self) -> Vec<u8>;
}

impl<K: KeyDetails> Named for K {
    fn print(&self) -> Vec<u8> {
        self.fingerprint().as_bytes().to_vec()
    }

    fn id(&self) -> Vec<u8> {
        self.legacy_key_id().as_ref().to_vec()
    }
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(pgp::types::Timestamp::as_secs))
}

/// Whether a time has come that is some seconds after another; no seconds mean never.
fn expired(created: u32, after: Option<pgp::types::Duration>, now: Timestamp) -> bool {
    let seconds = after.map_or(0, pgp::types::Duration::as_secs);
    seconds != 0 && now.as_second() >= i64::from(created).saturating_add(i64::from(seconds))
}
