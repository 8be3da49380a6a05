//! The values of a configuration file, each with one parsing constructor.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A span of time, written `60s`, `2m` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Interval(Duration);

impl Interval {
    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = jiff::SignedDuration::from_str(&text).ok().and_then(|d| Duration::try_from(d).ok());
        parsed.map(Self).ok_or_else(|| format!("`{text}` is not a span of time; write for example 60s or 5m"))
    }
}

/// `address:port`.
pub(super) fn listen_address<'de, D: serde::Deserializer<'de>>(value: D) -> Result<std::net::SocketAddr, D::Error> {
    let text = String::deserialize(value)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!("listen is `{text}`; write an address and a port, for example 127.0.0.1:8080"))
    })
}

/// The same where there may be none.
pub(super) fn some_listen_address<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<std::net::SocketAddr>, D::Error> {
    listen_address(value).map(Some)
}

/// `sqlite:///absolute/path`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabasePath(PathBuf);

impl DatabasePath {
    /// The database file.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The folder that holds it, and the mirror beside it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new("/"))
    }
}

impl Default for DatabasePath {
    fn default() -> Self {
        Self(PathBuf::from("/var/lib/pci-segment/state.db"))
    }
}

impl TryFrom<String> for DatabasePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = text.strip_prefix("sqlite://").map(PathBuf::from).filter(|p| p.is_absolute() && p.file_name().is_some());
        path.map(Self).ok_or_else(|| format!("database is `{text}`; write sqlite:///var/lib/pci-segment/state.db"))
    }
}

/// A branch name without `refs/heads/`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BranchName(String);

impl BranchName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for BranchName {
    fn default() -> Self {
        Self("main".to_owned())
    }
}

impl TryFrom<String> for BranchName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let full = format!("refs/heads/{text}");
        let valid =
            !text.starts_with("refs/") && !text.starts_with('-') && gix::validate::reference::name(full.as_str().into()).is_ok();
        if valid { Ok(Self(text)) } else { Err(format!("`{text}` is not a branch name; write for example main")) }
    }
}

/// A folder inside the repository; `.` is its top.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PolicyFolder(String);

impl PolicyFolder {
    /// The folder, without leading or trailing slash; empty for the top.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PolicyFolder {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') {
            return Err(format!("source.path `{text}` begins with /; it is a folder inside the repository"));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(format!("source.path `{text}` leaves the repository"));
        }
        Ok(Self(parts.join("/")))
    }
}

/// `owner/name` on a forge, or `group/subgroup/name`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RepositorySlug(String);

impl RepositorySlug {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RepositorySlug {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let word = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let valid = text.contains('/') && text.split('/').all(word);
        if valid { Ok(Self(text)) } else { Err(format!("`{text}` is not owner/name")) }
    }
}

/// When something is due: cron, seconds first.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct CronSchedule(croner::Cron);

impl CronSchedule {
    /// The next time after `now` by UTC, if there is one.
    #[must_use]
    pub fn next_after(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        self.next_in(now, &super::zone::TimeZone::default())
    }

    /// The next time after `now` by the clocks of a zone, if there is one. A time that these clocks skip comes once, right after the
    /// gap; one that they show twice comes once.
    #[must_use]
    pub fn next_in(&self, now: jiff::Timestamp, zone: &super::zone::TimeZone) -> Option<jiff::Timestamp> {
        super::zone::next(&self.0, now, zone)
    }
}

impl fmt::Debug for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.pattern)
    }
}

impl Default for CronSchedule {
    #[expect(clippy::expect_used, reason = "a constant, held by a test")]
    fn default() -> Self {
        Self::try_from("0 */5 * * * *".to_owned()).expect("the default schedule is a schedule")
    }
}

impl TryFrom<String> for CronSchedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Required).build();
        let reason = |e: croner::errors::CronError| {
            format!("`{text}` is not a schedule ({e}); write cron with seconds first, for example \"0 */5 * * * *\"")
        };
        parser.parse(&text).map(Self).map_err(reason)
    }
}

/// A schedule whose times are an hour or more apart: what comes each second would fill the disk.
pub(super) fn seldom_schedule<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<CronSchedule>, D::Error> {
    let Some(schedule) = Option::<CronSchedule>::deserialize(from)? else { return Ok(None) };
    // Minutes and seconds are the same in each hour that has any, so the first two times tell.
    let first = schedule.next_after(jiff::Timestamp::UNIX_EPOCH);
    let second = first.and_then(|first| schedule.next_after(first));
    match (first, second) {
        (Some(first), Some(second)) if second.duration_since(first) < jiff::SignedDuration::from_hours(1) => {
            let text = "a report is written at most once an hour; name one minute and one second, for example \"0 0 6 * * Mon\"";
            Err(serde::de::Error::custom(format!("`{schedule:?}` is too often: {text}")))
        }
        _ => Ok(Some(schedule)),
    }
}

/// Who may always pass, on which port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "FailsafeText")]
pub struct FailsafePeer {
    /// IP protocol number.
    pub protocol: u8,
    /// The service's port; 0 for ICMP.
    pub port: u16,
    /// Address blocks, as address and prefix length.
    pub peers: Vec<(IpAddr, u8)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailsafeText {
    protocol: String,
    port: Option<u16>,
    #[serde(alias = "to")]
    from: Vec<String>,
}

impl TryFrom<FailsafeText> for FailsafePeer {
    type Error = String;

    fn try_from(text: FailsafeText) -> Result<Self, String> {
        let peers = text.from.iter().map(|cidr| peer(cidr)).collect::<Result<Vec<_>, _>>()?;
        if peers.is_empty() {
            return Err("a failsafe entry needs an address block: write from: [10.0.0.0/8]".to_owned());
        }
        let protocol = protocol_number(&text.protocol)?;
        match text.port {
            Some(port) if port > 0 => Ok(Self { protocol, port, peers }),
            _ => Err("a failsafe entry needs a port from 1 to 65535".to_owned()),
        }
    }
}

impl FromStr for FailsafePeer {
    type Err = String;

    /// The command line's form, `tcp/22@10.0.0.0/8`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("`{text}` is not a failsafe entry; write tcp/22@10.0.0.0/8");
        let (service, cidr) = text.split_once('@').ok_or_else(form)?;
        let (protocol, port) = service.split_once('/').ok_or_else(form)?;
        let port = port.parse::<u16>().map_err(|_| form())?;
        Self::try_from(FailsafeText { protocol: protocol.to_ascii_uppercase(), port: Some(port), from: vec![cidr.to_owned()] })
    }
}

fn protocol_number(name: &str) -> Result<u8, String> {
    match name {
        "TCP" => Ok(6),
        "UDP" => Ok(17),
        "SCTP" => Ok(132),
        other => Err(format!("protocol {other} is not TCP, UDP or SCTP")),
    }
}

fn peer(text: &str) -> Result<(IpAddr, u8), String> {
    let form = || format!("`{text}` is not an address block; write for example 10.0.0.0/8");
    let (address, length) = text.split_once('/').ok_or_else(form)?;
    let address: IpAddr = address.parse().map_err(|_| form())?;
    let length: u8 = length.parse().map_err(|_| form())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match length {
        0 => Err(format!("`{text}` is everybody; a failsafe names the few who must never be locked out")),
        _ if length > most => Err(form()),
        _ => Ok((address, length)),
    }
}

/// The parser's reason on one line: without its source excerpt, which could show a value, and without the place, which we print.
pub(super) fn plain_reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or("not readable");
    let plain = line.split_once(" at line ").map_or(line, |(before, _)| before);
    plain.strip_prefix("error: ").unwrap_or(plain).to_owned()
}
