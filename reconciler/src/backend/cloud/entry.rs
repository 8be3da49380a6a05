//! How the targets of an entry are changed.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::CloudConfig;
use crate::converge::Entry;

/// Between two readings that have to agree: a cloud may answer from more than one copy.
const PAUSE: Duration = Duration::from_secs(2);
/// The same for a stand-in on this machine, which has one.
const STAND_IN_PAUSE: Duration = Duration::from_millis(200);

/// How a target of an entry is changed.
pub(in crate::backend) fn entry(config: &CloudConfig) -> Entry {
    let pause = if is_stand_in(config) { STAND_IN_PAUSE } else { PAUSE };
    Entry { name: config.label(), dry_run: config.dry_run, pause }
}

/// Whether whoever answers is on this machine.
fn is_stand_in(config: &CloudConfig) -> bool {
    let url = config.endpoint_url.as_deref().and_then(|url| reqwest::Url::parse(url).ok());
    url.is_some_and(|url| match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_answers_on_this_machine_is_read_twice_without_the_pause() {
        let pause = |url: Option<&str>| {
            let text = "provider: aws\nregion: us-east-1\naws: {vpc_ids: [vpc-1]}\n";
            let mut config: CloudConfig = serde_saphyr::from_str(text).unwrap();
            config.endpoint_url = url.map(str::to_owned);
            entry(&config).pause
        };
        for near in ["http://127.0.0.1:5000", "http://[::1]:5000", "http://localhost:5000"] {
            assert_eq!(pause(Some(near)), STAND_IN_PAUSE, "{near}");
        }
        for far in
            [None, Some("https://ec2.us-east-1.amazonaws.com"), Some("http://10.0.0.1:5000"), Some("http://127.0.0.1.example")]
        {
            assert_eq!(pause(far), PAUSE, "{far:?}");
        }
    }
}
