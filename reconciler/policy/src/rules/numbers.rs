//! Which requirement numbers PCI DSS v4.0.1 has. Numbers only; the text of the standard is not ours to ship.

/// Per section, how many requirements it has: `("1.2", 8)` is 1.2.1 to 1.2.8.
const SECTIONS: [(&str, u8); 71] = [
    ("1.1", 2),
    ("1.2", 8),
    ("1.3", 3),
    ("1.4", 5),
    ("1.5", 1),
    ("2.1", 2),
    ("2.2", 7),
    ("2.3", 2),
    ("3.1", 2),
    ("3.2", 1),
    ("3.3", 3),
    ("3.4", 2),
    ("3.5", 1),
    ("3.6", 1),
    ("3.7", 9),
    ("4.1", 2),
    ("4.2", 2),
    ("5.1", 2),
    ("5.2", 3),
    ("5.3", 5),
    ("5.4", 1),
    ("6.1", 2),
    ("6.2", 4),
    ("6.3", 3),
    ("6.4", 3),
    ("6.5", 6),
    ("7.1", 2),
    ("7.2", 6),
    ("7.3", 3),
    ("8.1", 2),
    ("8.2", 8),
    ("8.3", 11),
    ("8.4", 3),
    ("8.5", 1),
    ("8.6", 3),
    ("9.1", 2),
    ("9.2", 4),
    ("9.3", 4),
    ("9.4", 7),
    ("9.5", 1),
    ("10.1", 2),
    ("10.2", 2),
    ("10.3", 4),
    ("10.4", 3),
    ("10.5", 1),
    ("10.6", 3),
    ("10.7", 3),
    ("11.1", 2),
    ("11.2", 2),
    ("11.3", 2),
    ("11.4", 7),
    ("11.5", 2),
    ("11.6", 1),
    ("12.1", 4),
    ("12.2", 1),
    ("12.3", 4),
    ("12.4", 2),
    ("12.5", 3),
    ("12.6", 3),
    ("12.7", 1),
    ("12.8", 5),
    ("12.9", 2),
    ("12.10", 7),
    ("A1.1", 4),
    ("A1.2", 3),
    ("A2.1", 3),
    ("A3.1", 4),
    ("A3.2", 6),
    ("A3.3", 3),
    ("A3.4", 1),
    ("A3.5", 1),
];

/// Per requirement, how many parts it has: `("10.2.1", 7)` is 10.2.1.1 to 10.2.1.7.
const PARTS: [(&str, u8); 25] = [
    ("3.3.1", 3),
    ("3.5.1", 3),
    ("3.6.1", 4),
    ("4.2.1", 2),
    ("5.2.3", 1),
    ("5.3.2", 1),
    ("6.2.3", 1),
    ("7.2.5", 1),
    ("8.3.10", 1),
    ("9.2.1", 1),
    ("9.3.1", 1),
    ("9.4.1", 2),
    ("9.4.5", 1),
    ("9.5.1", 3),
    ("9.5.1.2", 1),
    ("10.2.1", 7),
    ("10.4.1", 1),
    ("10.4.2", 1),
    ("11.3.1", 3),
    ("11.3.2", 1),
    ("11.5.1", 1),
    ("12.4.2", 1),
    ("12.5.2", 1),
    ("12.6.3", 2),
    ("12.10.4", 1),
];

/// Whether the standard has this number, headings such as `1` and `1.2` included.
pub(super) fn exists(number: &str) -> bool {
    let heading = SECTIONS.iter().any(|(section, _)| section.split('.').next() == Some(number));
    if heading || SECTIONS.iter().any(|(section, _)| *section == number) {
        return true;
    }
    let Some((above, last)) = number.rsplit_once('.') else {
        return false;
    };
    let canonical = !last.starts_with('0') && !last.starts_with('+');
    // The appendices are divided further in ways that need no list here: a part of one of their requirements is believed.
    if above.starts_with('A') && above.split('.').count() == 3 && canonical && last.parse::<u8>().is_ok() {
        return exists(above);
    }
    let counts = SECTIONS.iter().chain(&PARTS).find(|(prefix, _)| *prefix == above).map(|(_, count)| *count);
    canonical && last.parse::<u8>().ok().zip(counts).is_some_and(|(last, count)| (1..=count).contains(&last))
}

#[cfg(test)]
mod tests {
    use super::exists;

    #[test]
    fn headings_requirements_and_parts_exist() {
        for number in
            ["1", "12", "A1", "1.2", "A3.2", "1.3.1", "12.10.7", "10.2.1.7", "9.5.1.2.1", "A3.2.5.1", "8.3.10.1", "11.4.7"]
        {
            assert!(exists(number), "{number}");
        }
    }

    #[test]
    fn requirements_of_the_appendices_have_parts() {
        for number in ["A3.2.2.1", "A3.3.1.1", "A3.2.6.1"] {
            assert!(exists(number), "{number}");
        }
    }

    #[test]
    fn other_numbers_do_not() {
        for number in [
            "",
            "0",
            "13",
            "1.9",
            "1.2.9",
            "1.2.0",
            "1.2.01",
            "1.2.",
            ".1",
            "1.3.1.1",
            "10.2.1.8",
            "A4",
            "1.2.+1",
            "A1.1.5",
            "A3.2.7.1",
            "A3.2.2.0",
            "A3.2.2.1.1",
        ] {
            assert!(!exists(number), "{number}");
        }
    }
}
