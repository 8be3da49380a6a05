//! Who gives an order, in words for the audit log.

/// `uid:1000:ada`: the number is what the kernel says, the name what this host's own list of users says of it. Who is in no such list
/// (a directory elsewhere) is named by the number.
#[must_use]
pub fn actor(uid: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&list, uid).map_or_else(|| format!("uid:{uid}"), |name| format!("uid:{uid}:{name}"))
}

fn name_in(list: &str, uid: u32) -> Option<&str> {
    let number = uid.to_string();
    let name = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    })?;
    let plain = name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-$@".contains(c));
    (plain && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_number_and_by_the_first_name_in_the_list() {
        let list = "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\nbad name:x:7:7::/:/\n:x:8:8\n";
        assert_eq!((name_in(list, 0), name_in(list, 1000)), (Some("root"), Some("ada")));
        assert_eq!((name_in(list, 7), name_in(list, 8), name_in(list, 9)), (None, None, None));
    }
}
