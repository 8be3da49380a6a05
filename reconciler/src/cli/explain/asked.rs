//! One flow as people and programs ask about it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, bail};
use policy::net::service::{ICMP, ICMPV6, SCTP, TCP, UDP};
use policy::net::{Direction, Service};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The type of an echo request: what ICMP without a type is about.
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;

/// One flow. Texts are borrowed from the line wherever nothing in them is escaped.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked<'a> {
    #[serde(borrow, default)]
    pub(super) labels: Pairs<'a>,
    #[serde(borrow)]
    pub(super) namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) workload: Option<Text<'a>>,
    pub(super) direction: Direction,
    pub(super) peer: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) port: Option<u16>,
    #[serde(rename = "type")]
    pub(super) kind: Option<u8>,
    pub(super) code: Option<u8>,
}

impl Asked<'_> {
    /// The other end. An IPv4 address inside IPv6 would be judged as the IPv6 address that no packet carries.
    pub(super) fn peer(&self) -> anyhow::Result<IpAddr> {
        match self.peer.to_canonical() {
            plain if plain == self.peer => Ok(plain),
            plain => bail!("{} is an IPv4 address inside IPv6; write {plain}", self.peer),
        }
    }

    pub(super) fn service(&self) -> anyhow::Result<Service> {
        let Protocol(protocol) = self.protocol;
        let (icmp, ported) = (matches!(protocol, ICMP | ICMPV6), matches!(protocol, TCP | UDP | SCTP));
        match (self.port, self.kind) {
            _ if icmp && self.peer.is_ipv4() != (protocol == ICMP) => {
                let (name, fitting) = if protocol == ICMP { ("ICMP", "icmpv6") } else { ("ICMPv6", "icmp") };
                bail!("{name} does not go to or from {}; write {fitting}", self.peer)
            }
            (Some(_), _) if !ported => bail!("protocol {protocol} has no ports; leave the port out"),
            (None, _) if ported => bail!("a port is needed with this protocol"),
            (_, Some(_)) if !icmp => bail!("only ICMP and ICMPv6 have types"),
            (_, None) if self.code.is_some() => bail!("a code needs a type"),
            (Some(port), _) => Ok(Service::new(protocol, port)),
            (None, Some(kind)) => Ok(Service::icmp(protocol, kind, self.code.unwrap_or(0))),
            (None, None) if icmp => Ok(Service::icmp(protocol, if protocol == ICMP { ECHO } else { ECHO_V6 }, 0)),
            (None, None) => Ok(Service::new(protocol, 0)),
        }
    }
}

/// A protocol as people write it: a name or a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol(u8);

impl Protocol {
    pub(super) fn parse(name: &str) -> anyhow::Result<Self> {
        let known = [("tcp", TCP), ("udp", UDP), ("sctp", SCTP), ("icmp", ICMP), ("icmpv6", ICMPV6)];
        if let Some((_, number)) = known.iter().find(|(word, _)| word.eq_ignore_ascii_case(name)) {
            return Ok(Self(*number));
        }
        let unknown = || format!("protocol {name} is not known; write tcp, udp, sctp, icmp, icmpv6 or a number");
        name.parse().map(Self).with_context(unknown)
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Protocol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Protocol, E> {
                u8::try_from(number).map(Protocol).map_err(|_| E::custom(format!("protocol {number} is beyond 255")))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Protocol, E> {
                Protocol::parse(name).map_err(|error| E::custom(error))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// A text that borrows from its line if it can.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

/// Labels in the order they were written.
#[derive(Debug, Default)]
pub(super) struct Pairs<'a>(pub(super) Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels: an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(4);
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> serde_json::Result<Asked<'_>> {
        serde_json::from_str(line)
    }

    fn service(rest: &str) -> anyhow::Result<Service> {
        service_with("10.0.0.1", rest)
    }

    fn service_with(peer: &str, rest: &str) -> anyhow::Result<Service> {
        asked(&format!(r#"{{"direction": "egress", "peer": "{peer}", {rest}}}"#))?.service()
    }

    #[test]
    fn icmp_without_a_type_is_an_echo_request_and_goes_between_addresses_of_its_family() {
        assert_eq!(service(r#""protocol": "icmp""#).unwrap(), Service::icmp(ICMP, 8, 0));
        assert_eq!(service_with("fd00::1", r#""protocol": "icmpv6""#).unwrap(), Service::icmp(ICMPV6, 128, 0));
        assert!(service_with("fd00::1", r#""protocol": "icmp""#).unwrap_err().to_string().ends_with("write icmpv6"));
        assert!(service(r#""protocol": "icmpv6", "type": 1"#).unwrap_err().to_string().ends_with("write icmp"));
    }

    #[test]
    fn a_protocol_is_a_name_in_any_case_or_a_number() {
        for (text, service_) in [
            (r#""protocol": "TCP", "port": 443"#, Service::new(TCP, 443)),
            (r#""protocol": 17, "port": 53"#, Service::new(UDP, 53)),
            (r#""protocol": "47""#, Service::new(47, 0)),
            (r#""protocol": "icmp", "type": 8"#, Service::icmp(ICMP, 8, 0)),
            (r#""protocol": "Icmp", "type": 3, "code": 4"#, Service::icmp(ICMP, 3, 4)),
        ] {
            assert_eq!(service(text).unwrap(), service_, "{text}");
        }
    }

    #[test]
    fn what_makes_no_packet_is_refused() {
        for text in [
            r#""protocol": "tcp""#,
            r#""protocol": "tcp", "port": 443, "type": 8"#,
            r#""protocol": "tcp", "port": 443, "code": 8"#,
            r#""protocol": "tcp", "port": 65536"#,
            r#""protocol": "icmp", "port": 1"#,
            r#""protocol": "icmp", "code": 1"#,
            r#""protocol": 256"#,
            r#""protocol": "tpc", "port": 1"#,
            r#""protocol": "gre", "other": 1"#,
        ] {
            assert!(service(text).is_err(), "{text}");
        }
        let mapped = r#"{"direction": "egress", "peer": "::ffff:10.0.0.1", "protocol": 47}"#;
        assert!(asked(mapped).unwrap().peer().unwrap_err().to_string().contains("write 10.0.0.1"));
    }
}
