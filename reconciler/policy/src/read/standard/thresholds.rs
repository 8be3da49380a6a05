//! `thresholds`: house numbers.

use super::super::cursor::{Cursor, Fields};
use super::super::tree::Node;
use crate::model::standard::Thresholds;

const FIELDS: &[&str] = &[
    "portRangeMax",
    "privateV4PrefixWarn",
    "privateV4PrefixError",
    "publicV4PrefixWarn",
    "publicV4PrefixError",
    "v6PrefixWarn",
    "v6PrefixError",
    "openV4Addresses",
    "openV6Prefix",
    "justificationChars",
    "reviewWarnDays",
    "reviewMaxDays",
    "temporaryWarnDays",
    "waiverMaxDays",
    "idleRuleDays",
    "clockOffsetMs",
];
/// All of IPv4.
const V4_ADDRESSES_MAX: u64 = 1 << 32;
/// The longest text there is.
const TEXT_CHARS_MAX: u64 = 2_048;
/// A hundred years.
const DAYS_MAX: u64 = 36_525;
/// A day.
const OFFSET_MS_MAX: u64 = 86_400_000;
/// PCI DSS v4.0.1 1.2.7: at least once every six months. The house may only be stricter.
const REVIEW_DAYS_MAX: u64 = 184;
const WAIVER_DAYS_MAX: u64 = 90;

pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Thresholds> {
    let fields = cursor.fields(node, FIELDS)?;
    let mut t = Thresholds::default();
    set(cursor, &fields, "portRangeMax", (1, 65_535), &mut t.port_range_max);
    for (key, bits, prefix) in [
        ("privateV4PrefixWarn", 32, &mut t.private_v4_prefix_warn),
        ("privateV4PrefixError", 32, &mut t.private_v4_prefix_error),
        ("publicV4PrefixWarn", 32, &mut t.public_v4_prefix_warn),
        ("publicV4PrefixError", 32, &mut t.public_v4_prefix_error),
        ("v6PrefixWarn", 128, &mut t.v6_prefix_warn),
        ("v6PrefixError", 128, &mut t.v6_prefix_error),
        ("openV6Prefix", 128, &mut t.open_v6_prefix),
    ] {
        set(cursor, &fields, key, (0, bits), prefix);
    }
    set(cursor, &fields, "openV4Addresses", (1, V4_ADDRESSES_MAX), &mut t.open_v4_addresses);
    set(cursor, &fields, "justificationChars", (1, TEXT_CHARS_MAX), &mut t.justification_chars);
    for (key, most, days) in [
        ("reviewWarnDays", DAYS_MAX, &mut t.review_warn_days),
        ("reviewMaxDays", REVIEW_DAYS_MAX, &mut t.review_max_days),
        ("temporaryWarnDays", DAYS_MAX, &mut t.temporary_warn_days),
        ("waiverMaxDays", WAIVER_DAYS_MAX, &mut t.waiver_max_days),
        ("idleRuleDays", DAYS_MAX, &mut t.idle_rule_days),
    ] {
        set(cursor, &fields, key, (1, most), days);
    }
    set(cursor, &fields, "clockOffsetMs", (1, OFFSET_MS_MAX), &mut t.clock_offset_ms);
    Some(t)
}

fn set<'n, T: TryFrom<u64>>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, key: &'static str, range: (u64, u64), to: &mut T) {
    let number = cursor.field(fields, key, |cursor, node| cursor.number(node, range.0, range.1));
    if let Some(number) = number.read().and_then(|number| T::try_from(number).ok()) {
        *to = number;
    }
}
