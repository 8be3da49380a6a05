//! Which process holds a socket, by one walk over `/proc`.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// Descriptors looked at; a host with more than these leaves some flows without a name.
const DESCRIPTORS_MAX: usize = 1 << 18;

/// Names of the processes that hold these sockets, as far as this process may see them.
pub(crate) fn names(inodes: &HashSet<u32>) -> HashMap<u32, String> {
    let mut found = HashMap::new();
    let mut seen = 0;
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.filter(|own| own.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)) {
        let directory = process.path();
        for descriptor in fs::read_dir(directory.join("fd")).into_iter().flatten().flatten() {
            seen += 1;
            if seen > DESCRIPTORS_MAX || found.len() == inodes.len() {
                return found;
            }
            let Some(inode) = fs::read_link(descriptor.path()).ok().and_then(|link| inode(link.to_str()?)) else { continue };
            if inodes.contains(&inode) && !found.contains_key(&inode) {
                let name = fs::read_to_string(directory.join("comm")).unwrap_or_default();
                found.insert(inode, format!("{} ({})", name.trim_end(), process.file_name().to_string_lossy()));
            }
        }
    }
    found
}

/// The number in `socket:[number]`.
fn inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::TcpListener, os::unix::fs::MetadataExt as _};

    #[test]
    fn a_socket_of_this_process_is_known_by_its_name_and_number() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listener));
        let inode = u32::try_from(std::fs::metadata(descriptor).unwrap().ino()).unwrap();
        let names = super::names(&HashSet::from([inode]));
        assert!(names[&inode].ends_with(&format!(" ({})", std::process::id())), "{names:?}");
    }

    #[test]
    fn only_links_to_sockets_have_a_number() {
        assert_eq!(super::inode("socket:[123]"), Some(123));
        assert_eq!(super::inode("pipe:[123]"), None);
        assert_eq!(super::inode("/dev/null"), None);
    }
}
