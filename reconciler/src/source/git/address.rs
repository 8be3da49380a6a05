//! Repository addresses: which ones are taken, and in words why the others are not.
//!
//! An address comes from the configuration and ends in a connection or in the argument list of a process, so it is parsed once,
//! strictly, and everything that could carry a password, a command or an option is refused by the name of that part.

use std::path::PathBuf;

/// A checked address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A repository on this machine.
    File(PathBuf),
    /// `https`, or `http` where no credential is configured.
    Http {
        /// The whole address; it holds no user-info.
        url: String,
        /// False for `https`.
        clear: bool,
    },
    /// `ssh://` or `host:path`.
    Ssh(SshAddress),
}

/// Where an SSH address points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SshAddress {
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) path: String,
}

impl Address {
    /// Parses what stands in `source.url`.
    ///
    /// # Errors
    /// One line that names the part that is not allowed, and never repeats a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('-') {
            return Err("the address begins with `-`, which a program could take for an option".into());
        }
        if let Some((helper, _)) = text.split_once("::").filter(|(helper, _)| is_scheme(helper)) {
            return Err(format!("`{helper}::` would start a remote helper; use https, ssh or file"));
        }
        if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("the address is empty or holds white space or control characters".into());
        }
        match text.split_once("://") {
            Some((scheme, rest)) => with_scheme(text, scheme, rest),
            None => scp_form(text),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

fn with_scheme(text: &str, scheme: &str, rest: &str) -> Result<Address, String> {
    match scheme {
        "https" | "http" => http(text, rest, scheme == "http"),
        "ssh" => ssh(rest),
        "file" => file(rest),
        _ if is_scheme(scheme) => Err(format!("the scheme `{scheme}` is not allowed; use https, ssh or file")),
        _ => Err("the scheme is not allowed; use https, ssh or file".into()),
    }
}

fn http(text: &str, rest: &str, clear: bool) -> Result<Address, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(
            "user-info (`user:password@`) is not allowed in the address; use source.credentials with a password_file".into()
        );
    }
    if path.contains(['?', '#']) || authority.contains(['?', '#']) {
        return Err("a query or fragment (`?`, `#`) is not allowed in the address".into());
    }
    host_and_port(authority)?;
    if path.trim_matches('/').is_empty() {
        return Err("the address has no path to a repository".into());
    }
    let parsed = reqwest::Url::parse(text).map_err(|error| format!("the address is not a URL ({error})"))?;
    Ok(Address::Http { url: parsed.into(), clear })
}

fn file(rest: &str) -> Result<Address, String> {
    if !rest.starts_with('/') {
        return Err("a file address names a host or a relative path; write file:///absolute/path".into());
    }
    Ok(Address::File(PathBuf::from(rest)))
}

fn ssh(rest: &str) -> Result<Address, String> {
    let (authority, path) = rest.split_once('/').ok_or("the address has no path to a repository")?;
    let (user, host_port) = user(authority)?;
    let (host, port) = host_and_port(host_port)?;
    // `/~name/…` means a home folder on the server, as Git has it.
    let path = if path.starts_with('~') { path.to_owned() } else { format!("/{path}") };
    remote_path(&path)?;
    Ok(Address::Ssh(SshAddress { user, host, port, path }))
}

fn scp_form(text: &str) -> Result<Address, String> {
    let split = text.split_once(':').filter(|(before, _)| !before.contains('/'));
    let Some((authority, path)) = split else {
        return Err("the address has no scheme; write file:///absolute/path for a local repository".into());
    };
    let (user, host) = user(authority)?;
    let (host, _) = host_and_port(host)?;
    remote_path(path)?;
    Ok(Address::Ssh(SshAddress { user, host, port: None, path: path.to_owned() }))
}

/// SSH needs a login name; a password beside it is refused.
fn user(authority: &str) -> Result<(Option<String>, &str), String> {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return Ok((None, authority));
    };
    if user.contains(':') {
        return Err("a password in the user-info of the address is not allowed; use ssh_key_file".into());
    }
    let plain = user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if user.is_empty() || user.starts_with('-') || !plain {
        return Err("the user name in the address is not allowed: letters, digits, `.`, `_` and `-`, not first `-`".into());
    }
    Ok((Some(user.to_owned()), host))
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => (v6, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.starts_with('-') {
        return Err("the host begins with `-`, which a program could take for an option".into());
    }
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)) {
        return Err("the host is empty or holds characters a host name cannot have".into());
    }
    let port = port.map(|port| port.parse().map_err(|_| "the port is not a number up to 65535")).transpose()?;
    Ok((host.to_owned(), port))
}

fn remote_path(path: &str) -> Result<(), String> {
    match path {
        "" | "/" => Err("the address has no path to a repository".into()),
        _ if path.starts_with('-') => Err("the path begins with `-`, which a program could take for an option".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Address::parse(text).unwrap_err()
    }

    #[test]
    fn the_four_forms_are_taken() {
        assert_eq!(Address::parse("file:///srv/git/p"), Ok(Address::File("/srv/git/p".into())));
        assert_eq!(
            Address::parse("https://git.example:8443/acme/p.git"),
            Ok(Address::Http { url: "https://git.example:8443/acme/p.git".into(), clear: false })
        );
        assert!(matches!(Address::parse("http://[::1]:80/p"), Ok(Address::Http { clear: true, .. })));
        let ssh = |user: &str, port, path: &str| {
            let user = Some(user.to_owned());
            Ok(Address::Ssh(SshAddress { user, host: "github.com".into(), port, path: path.into() }))
        };
        assert_eq!(Address::parse("ssh://git@github.com:22/acme/p.git"), ssh("git", Some(22), "/acme/p.git"));
        assert_eq!(Address::parse("git@github.com:acme/p.git"), ssh("git", None, "acme/p.git"));
        assert_eq!(Address::parse("ssh://me@github.com/~me/p"), ssh("me", None, "~me/p"));
    }

    #[test]
    fn g10_what_could_start_a_command_is_refused_by_name() {
        assert!(refusal("ext::sh -c touch% /tmp/x").contains("`ext::`"));
        assert!(refusal("ssh://-oProxyCommand=touch/x").contains("host begins with `-`"));
        assert!(refusal("-oProxyCommand=x:path").contains("begins with `-`"));
        assert!(refusal("git@-oProxyCommand=x:path").contains("host begins with `-`"));
        assert!(refusal("host:-x").contains("path begins with `-`"));
        assert!(refusal("ssh://-l@host/x").contains("user name"));
        assert!(refusal("git://host/x").contains("`git`"));
        assert!(refusal("ftp://host/x").contains("`ftp`"));
    }

    #[test]
    fn g10_a_secret_in_the_address_is_refused_and_not_repeated() {
        for text in ["https://user:canary@host/x", "ssh://git:canary@host/x", "https://canary@host/x", "https://host/x?t=canary"] {
            let text = refusal(text);
            assert!(!text.contains("canary"), "{text}");
        }
        assert!(refusal("https://user:token@host/x").contains("user-info"));
    }

    #[test]
    fn incomplete_addresses_say_what_is_missing() {
        assert!(refusal("https://host/").contains("no path"));
        assert!(refusal("/srv/git/p").contains("file:///"));
        assert!(refusal("file://host/p").contains("file:///"));
        assert!(refusal("https:///x").contains("host is empty"));
        assert!(refusal("https://host:99999/x").contains("port"));
        assert!(refusal("").contains("empty"));
    }
}
