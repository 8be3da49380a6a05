//! What this controller needs in clouds, where no list of ours always passes: from which of its addresses to where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use jiff::Timestamp;
use policy::lower::cloud::Needed;
use policy::net::Service;

use super::known::{Known, Resolved};
use super::{Reach, START_TIME_MAX, TCP, UDP};
use crate::config::{CloudConfig, CloudProvider, Config};
use crate::store::Store;

/// Where instances get their credentials from.
const METADATA: &str = "169.254.169.254";

/// The flows that a commit must not cut. Waits a short while for names, then goes on with what is known.
///
/// # Errors
/// A configured block with host bits.
pub(in crate::run) async fn needed(config: &Config, store: Option<&Store>, now: Timestamp) -> anyhow::Result<Vec<Needed>> {
    let reach = Reach::new(config)?;
    let known = match store {
        Some(store) => reach.refreshed(reach.recall(store).await, store, START_TIME_MAX, now).await,
        None => {
            let mut known = Known::default();
            known.take(reach.look(START_TIME_MAX, now).await, &reach.remotes, now);
            known
        }
    };
    let resolver = |to: &IpAddr| [UDP, TCP].map(|protocol| flow(*to, protocol, 53, "the resolver"));
    let remote = |found: &Resolved| flow(found.address, TCP, found.port, &found.host);
    let all = reach.resolvers.iter().flat_map(resolver).chain(known.newest_first().into_iter().map(remote));
    Ok(all.flatten().collect())
}

/// None where there is no way there, and where the way does not leave this machine.
fn flow(to: IpAddr, protocol: u8, port: u16, name: &str) -> Option<Needed> {
    let from = own_address(to).filter(|_| !to.is_loopback())?;
    Some(Needed { from, to, service: Service::new(protocol, port), name: name.to_owned() })
}

/// From which address this machine speaks to another one. Nothing is sent.
fn own_address(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Any port does: only the route is asked for.
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Hosts and ports of the APIs of configured clouds, and of what their credentials come from.
pub(super) fn cloud_remotes(clouds: &[CloudConfig]) -> Vec<(String, u16)> {
    clouds.iter().flat_map(remotes_of).collect()
}

fn remotes_of(cloud: &CloudConfig) -> Vec<(String, u16)> {
    if let Some(url) = &cloud.endpoint_url {
        return super::host_of(url).into_iter().collect();
    }
    let region = &cloud.region;
    let hosts = match cloud.provider {
        CloudProvider::Aws => [format!("ec2.{region}.amazonaws.com"), format!("sts.{region}.amazonaws.com")],
        CloudProvider::Azure => ["management.azure.com".to_owned(), "login.microsoftonline.com".to_owned()],
    };
    hosts.into_iter().map(|host| (host, 443)).chain([(METADATA.to_owned(), 80)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_another_machine_begins_at_an_address_of_this_one() {
        assert_eq!(own_address([127, 0, 0, 1].into()), Some([127, 0, 0, 1].into()));
        assert_eq!(flow([127, 0, 0, 1].into(), TCP, 443, "here"), None, "what stays on this machine passes no group");
    }

    #[test]
    fn a_cloud_needs_its_api_or_what_stands_in_for_it() {
        let cloud = |endpoint: Option<&str>| CloudConfig {
            provider: CloudProvider::Aws,
            name: None,
            region: "eu-central-1".to_owned(),
            endpoint_url: endpoint.map(str::to_owned),
            dry_run: false,
            attach: false,
            tags: std::collections::BTreeMap::new(),
            aws: None,
            azure: None,
        };
        assert_eq!(cloud_remotes(&[cloud(Some("http://10.0.0.1:5000"))]), [("10.0.0.1".to_owned(), 5000)]);
        assert!(cloud_remotes(&[cloud(None)]).contains(&("ec2.eu-central-1.amazonaws.com".to_owned(), 443)));
    }
}
