//! Names that reach a script.

use super::is_plain_name;

#[test]
fn a_name_that_nft_would_read_as_more_than_a_name_is_refused() {
    for name in ["eth0", "bond0.10", "br-0", "wg_1", "en$0", "a{b;c}"] {
        assert!(is_plain_name(name), "{name}");
    }
    for name in ["", ".", "..", "eth*", "a\"b", "a b", "a\\b", "a\nb", "a/b", "a:b", "sixteen-letters-", "é"] {
        assert!(!is_plain_name(name), "{name}");
    }
}
