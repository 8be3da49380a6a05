use enforcer_abi::Reason;

use super::{Kind, Part};
use crate::fake::{Bytes, ipv4, ipv6, parse, tcp, udp};

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const A6: [u8; 16] = [0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn refused(packet: &Bytes) -> Reason {
    parse(packet).expect_err("it is refused")
}

fn changed(mut packet: Bytes, at: usize, byte: u8) -> Bytes {
    packet.bytes[at] = byte;
    packet
}

fn segment() -> Bytes {
    ipv4(A, B, 6, &tcp(1, 2, 2, 3, 4))
}

#[test]
fn tcp_over_ipv4_is_read() {
    let headers = parse(&segment()).unwrap().unwrap();
    assert_eq!((headers.kind, headers.part, headers.proto), (Kind::TCP, Part::WHOLE, 6));
    assert_eq!((headers.source_port, headers.destination_port), (1_u16.to_be(), 2_u16.to_be()));
    assert_eq!((headers.flags, headers.seq, headers.ack), (2, 3, 4));
}

#[test]
fn udp_behind_ipv6_extension_headers_is_read() {
    let payload = [&[60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0][..], &udp(5, 6)].concat();
    let headers = parse(&ipv6(A6, A6, 0, 64, &payload)).unwrap().unwrap();
    assert_eq!((headers.proto, headers.destination_port), (17, 6_u16.to_be()));
}

#[test]
fn up_to_two_vlan_tags_are_skipped_wherever_they_are() {
    let tagged = |count: usize, tags| {
        let mut packet = segment();
        let inline = [0x81, 0, 0, 9].repeat(count);
        packet.bytes.splice(12..12, inline);
        Bytes { tags, ..packet }
    };
    assert!(parse(&tagged(2, 0)).unwrap().is_some());
    assert!(parse(&tagged(1, 1)).unwrap().is_some());
    assert_eq!(refused(&tagged(3, 0)), Reason::Malformed);
    assert_eq!(refused(&tagged(2, 1)), Reason::Malformed);
}

#[test]
fn every_cut_of_a_packet_is_refused_and_none_panics() {
    let packets = [segment(), ipv4(A, B, 17, &udp(1, 2)), ipv6(A6, A6, 6, 64, &tcp(1, 2, 2, 0, 0))];
    for packet in packets {
        for length in 14..packet.bytes.len() {
            let cut = Bytes { bytes: packet.bytes[..length].to_vec(), tags: 0, segmented: false };
            assert!(matches!(refused(&cut), Reason::Truncated | Reason::Malformed), "{length}");
        }
    }
}

#[test]
fn every_refusal_of_a_header_has_its_reason() {
    let at_ip = |offset: usize, byte| changed(segment(), 14 + offset, byte);
    assert_eq!(refused(&at_ip(0, 0x55)), Reason::Malformed, "version");
    assert_eq!(refused(&at_ip(0, 0x44)), Reason::Malformed, "header length");
    assert_eq!(refused(&at_ip(0, 0x46)), Reason::IpOptions);
    assert_eq!(refused(&at_ip(3, 200)), Reason::Malformed, "longer than the packet");
    assert_eq!(refused(&at_ip(3, 0)), Reason::Malformed, "length 0 of one segment");
    assert_eq!(refused(&at_ip(3, 30)), Reason::Truncated, "TCP header cut off");
    assert_eq!(refused(&at_ip(7, 1)), Reason::Fragment, "RFC 3128");
    assert_eq!(refused(&at_ip(20 + 12, 0x40)), Reason::Malformed, "data offset");
    assert_eq!(refused(&at_ip(20 + 12, 0xF0)), Reason::Truncated, "options cut off");
    assert_eq!(refused(&changed(segment(), 12, 0x88)), Reason::Ethertype);
    assert_eq!(refused(&changed(ipv4(A, B, 17, &udp(1, 2)), 14 + 20 + 5, 13)), Reason::Malformed, "UDP length");
}

#[test]
fn length_0_is_what_big_tcp_has() {
    let mut packet = changed(segment(), 14 + 3, 0);
    packet.segmented = true;
    assert!(parse(&packet).unwrap().is_some());
}

#[test]
fn routing_headers_and_chains_of_headers_are_refused() {
    let empty = |next: u8| [next, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(refused(&ipv6(A6, A6, 43, 64, &empty(6))), Reason::ExtensionHeader);
    assert_eq!(refused(&ipv6(A6, A6, 60, 64, &[empty(0), empty(6)].concat())), Reason::ExtensionHeader, "not first");
    let chain = |count: usize| {
        let mut payload = empty(60).repeat(count - 1);
        payload.extend(empty(17));
        payload.extend(udp(1, 2));
        ipv6(A6, A6, 60, 64, &payload)
    };
    assert!(parse(&chain(6)).unwrap().is_some());
    assert_eq!(refused(&chain(7)), Reason::ExtensionHeader);
}

#[test]
fn fragments_of_ipv6_are_told_apart() {
    let fragment = |offset: u8, more: u8| {
        let header = [17, 0, 0, offset << 3 | more, 0, 0, 0, 7];
        ipv6(A6, A6, 44, 64, &[&header[..], &udp(1, 2)].concat())
    };
    let part = |packet: &Bytes| parse(packet).unwrap().unwrap().part;
    assert_eq!(part(&fragment(0, 0)), Part::ATOMIC);
    assert_eq!(part(&fragment(0, 1)), Part::FIRST);
    assert_eq!(part(&fragment(4, 1)), Part::LATER);
}

#[test]
fn options_after_a_fragment_header_pass_only_where_nothing_can_be_written_over_them() {
    let options = |more: u8| {
        let chain = [60, 0, 0, more, 0, 0, 0, 7, 17, 0, 0, 0, 0, 0, 0, 0];
        ipv6(A6, A6, 44, 64, &[&chain[..], &udp(1, 2)].concat())
    };
    assert_eq!(parse(&options(0)).unwrap().unwrap().part, Part::ATOMIC);
    assert_eq!(refused(&options(1)), Reason::ExtensionHeader);
}
