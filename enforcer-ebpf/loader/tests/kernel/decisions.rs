//! Every kind of packet, one by one, past the loaded programs: what is written of it is what becomes of it. Flags of TCP, ICMP errors,
//! cut frames and tags that a driver has taken off are beside these, on a real cable ([`bad_packets`](crate::bad_packets)).

use aya::maps::{HashMap, Map, MapData};
use enforcer::{Direction, Interval, Table};
use enforcer_abi::ticks;

use crate::{
    flows::Kernel,
    frames::{Ip, ethernet},
    lab::{HOST4, HOST6, Lab, TCP, UDP, cidr, service, table},
};

const IN: Direction = Direction::In;
const OUT: Direction = Direction::Out;
const OPEN: u16 = 8080;
/// May use any protocol; everybody else only [`OPEN`].
const FRIENDS: [&str; 2] = ["10.7.0.9", "fd07::9"];
const STRANGERS: [&str; 2] = ["10.7.0.3", "fd07::3"];
const NEAR: &str = "fe80::3";
const ALL_NODES: &str = "ff02::1";

/// What it is, which way it goes, the frame, and how it ends.
type Row = (String, Direction, Vec<u8>, &'static str);

fn rules() -> Table {
    let everything = [Interval { lo: 0, hi: 0xFF_FFFF, rule: 9, audit: false }];
    let open = vec![service(TCP, OPEN, 1), service(UDP, OPEN, 2)];
    let friends = FRIENDS.map(|friend| cidr(&format!("{friend}/{}", if friend.contains(':') { 128 } else { 32 })));
    let mut wanted = table(&[]);
    wanted.any = std::array::from_fn(|_| open.clone());
    wanted.prefixes = Direction::ALL.into_iter().flat_map(|dir| friends.map(|own| (dir, own, everything.to_vec()))).collect();
    wanted.sorted()
}

fn ip(source: &str, destination: &str) -> Ip {
    Ip::new([2; 6], source, destination)
}

/// From a stranger to the host.
fn inward() -> [Ip; 2] {
    [ip(STRANGERS[0], HOST4), ip(STRANGERS[1], HOST6)]
}

fn changed(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

/// With another hop limit.
fn hops(frame: Vec<u8>, limit: u8) -> Vec<u8> {
    changed(frame, 14 + 7, limit)
}

/// Both ways alike.
fn both(what: &str, frame: &[u8], end: &'static str) -> [Row; 2] {
    Direction::ALL.map(|dir| (what.to_owned(), dir, frame.to_vec(), end))
}

fn links() -> Vec<Row> {
    let [own, _] = inward();
    let datagram = own.packet(17, &own.udp(5000, OPEN, b"mark"));
    let types = [
        (0x0806, "not_ip"),
        (0x88CC, "not_ip"),
        (0x888E, "not_ip"),
        (0x8809, "not_ip"),
        (0x8847, "ethertype"),
        (0x8864, "ethertype"),
        (0x0600, "ethertype"),
        (0x0026, "ethertype"),
        (0x6558, "ethertype"),
    ];
    let types =
        types.into_iter().flat_map(|(kind, end)| both(&format!("type {kind:#06x}"), &ethernet([2; 6], kind, &datagram), end));
    let tagged = |count: usize| [&[2; 12][..], &[0x81, 0, 0, 5].repeat(count), &[8, 0], &datagram].concat();
    let tags = [(1, "new"), (2, "flow"), (3, "malformed")];
    types.chain(tags.map(|(count, end)| (format!("{count} tags"), IN, tagged(count), end))).collect()
}

fn headers() -> Vec<Row> {
    let [v4, v6] = inward();
    let segment = |own: &Ip| own.frame(6, &own.tcp(5000, OPEN, 2, b"mark"));
    let (four, six) = (segment(&v4), segment(&v6));
    let datagram = |at: usize, byte| changed(v4.frame(17, &v4.udp(5000, OPEN, b"mark")), 34 + at, byte);
    let options = changed([&four[..34], &[1; 4], &four[34..]].concat(), 14, 0x46);
    let cut = |own: &Ip, proto: u8, size: usize| own.frame(proto, &[0x50; 20][..size]);
    let mut rows = vec![
        ("version 5", changed(four.clone(), 14, 0x55), "malformed"),
        ("version 4 where 6 is said", changed(six.clone(), 14, 0x45), "malformed"),
        ("four words of header", changed(four.clone(), 14, 0x44), "malformed"),
        ("options", options, "ip_options"),
        ("longer than the packet", changed(four.clone(), 17, 0xFF), "malformed"),
        ("shorter than its header", changed(four.clone(), 17, 19), "malformed"),
        ("no length, in one segment", changed(four.clone(), 17, 0), "malformed"),
        ("IPv6 longer than the packet", changed(six.clone(), 19, 0xFF), "malformed"),
        ("IPv6 of no length, in one segment", changed(six, 19, 0), "truncated"),
        ("a data offset of four", changed(four.clone(), 34 + 12, 0x40), "malformed"),
        ("a data offset beyond the end", changed(four, 34 + 12, 0xF0), "truncated"),
        ("UDP shorter than its header", datagram(5, 7), "malformed"),
        ("UDP longer than the packet", datagram(5, 13), "malformed"),
    ];
    for own in [&v4, &v6] {
        let icmp = if own.source.is_ipv4() { 1 } else { 58 };
        for (proto, size) in [(6, 19), (17, 7), (132, 11), (icmp, 7)] {
            rows.push(("a header cut off", cut(own, proto, size), "truncated"));
        }
    }
    rows.into_iter().flat_map(|(what, frame, end)| both(what, &frame, end)).collect()
}

fn spoofed() -> Vec<Row> {
    let pairs = [
        ("127.0.0.1", HOST4),
        ("224.0.0.1", HOST4),
        ("239.255.255.255", HOST4),
        ("255.255.255.255", HOST4),
        ("0.0.0.0", HOST4),
        ("0.0.0.7", HOST4),
        (STRANGERS[0], "127.0.0.1"),
        ("::", HOST6),
        ("::1", HOST6),
        (ALL_NODES, HOST6),
        ("::ffff:10.7.0.3", HOST6),
        (STRANGERS[1], "::1"),
    ];
    let frame = |source, destination| {
        let own = ip(source, destination);
        own.frame(17, &own.udp(5000, OPEN, b"mark"))
    };
    let rows = pairs.into_iter().flat_map(|(from, to)| both(&format!("{from} to {to}"), &frame(from, to), "spoofed"));
    rows.collect()
}

fn extension_headers() -> Vec<Row> {
    let [_, own] = inward();
    let empty = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0].to_vec();
    let mut port = 6000;
    let mut behind = |first: u8, headers: Vec<Vec<u8>>, end| {
        port += 1;
        let headers = headers.concat();
        (
            format!("{first}: {:?}", &headers[..8]),
            IN,
            own.frame(first, &[&headers[..], &own.udp(port, OPEN, b"mark")].concat()),
            end,
        )
    };
    let chain = |count: usize| (0..count).map(|n| empty(if n + 1 == count { 17 } else { 60 })).collect();
    let long = |words: u8| vec![[&[17, words][..], &vec![0; usize::from(words) * 8 + 6]].concat()];
    let mut rows = vec![
        behind(0, vec![empty(17)], "new"),
        behind(60, vec![empty(17)], "new"),
        behind(0, vec![empty(60), empty(17)], "new"),
        behind(60, vec![empty(0), empty(17)], "extension_header"),
        behind(43, vec![empty(17)], "extension_header"),
        behind(60, vec![empty(43), empty(17)], "extension_header"),
        behind(60, chain(6), "new"),
        behind(60, chain(7), "extension_header"),
        behind(60, long(31), "new"),
        behind(60, long(32), "extension_header"),
        behind(60, vec![vec![17, 9, 0, 0, 0, 0, 0, 0]], "truncated"),
    ];
    // What is no header that is walked is a protocol of its own: AH, ESP, tunnels, none, unknown ones, IGMP.
    for (proto, family) in [(51, 1), (50, 0), (50, 1), (4, 0), (41, 1), (47, 0), (47, 1), (59, 1), (253, 0), (253, 1), (2, 0)] {
        for (from, end) in [(STRANGERS, "no_rule"), (FRIENDS, "new")] {
            let own = ip(from[family], [HOST4, HOST6][family]);
            rows.push((format!("protocol {proto} of {}", from[family]), IN, own.frame(proto, &[0; 24]), end));
        }
    }
    rows
}

fn neighbours() -> Vec<Row> {
    let icmp = |from: &str, kind: u8, limit| {
        let own = ip(from, ALL_NODES);
        hops(own.frame(58, &own.icmp(kind, 0, 0, &[0; 16])), limit)
    };
    let own = ip(NEAR, HOST6);
    let behind = [&[58, 0, 0, 0, 0, 0, 0, 1][..], &own.icmp(135, 0, 0, &[0; 16])].concat();
    let alert = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &own.icmp(143, 0, 0, &[0; 16])].concat();
    let cases = [
        (135, 255, NEAR, ["neighbour", "neighbour"]),
        (136, 255, STRANGERS[1], ["neighbour", "neighbour"]),
        (135, 254, NEAR, ["no_rule", "no_rule"]),
        (135, 255, "::", ["neighbour", "neighbour"]),
        (133, 255, NEAR, ["no_rule", "neighbour"]),
        (134, 255, NEAR, ["neighbour", "no_rule"]),
        (134, 255, STRANGERS[1], ["no_rule", "no_rule"]),
        (134, 64, NEAR, ["no_rule", "no_rule"]),
        (137, 255, NEAR, ["no_rule", "no_rule"]),
        (137, 255, FRIENDS[1], ["new", "no_rule"]),
        (130, 1, NEAR, ["neighbour", "no_rule"]),
        (130, 1, "::", ["neighbour", "spoofed"]),
        (130, 2, NEAR, ["no_rule", "no_rule"]),
        (130, 1, STRANGERS[1], ["no_rule", "no_rule"]),
        (131, 1, NEAR, ["no_rule", "neighbour"]),
        (132, 1, NEAR, ["no_rule", "neighbour"]),
        (143, 1, "::", ["spoofed", "neighbour"]),
        (143, 1, STRANGERS[1], ["no_rule", "no_rule"]),
    ];
    let rows = cases.into_iter().flat_map(|(kind, limit, from, ends)| {
        let row = |dir, end| (format!("type {kind} of {from}, {limit} hops"), dir, icmp(from, kind, limit), end);
        [row(IN, ends[0]), row(OUT, ends[1])]
    });
    let more = [
        ("a solicitation in a fragment", IN, hops(own.frame(44, &behind), 255), "no_rule"),
        ("a report behind a router alert", OUT, hops(ip(NEAR, "ff02::16").frame(0, &alert), 1), "neighbour"),
    ];
    rows.chain(more.map(|(what, dir, frame, end)| (what.to_owned(), dir, frame, end))).collect()
}

/// With leases let through, and without.
fn leases(through: bool) -> Vec<Row> {
    let row = |dir, (from, source): (&str, u16), (to, destination): (&str, u16), end: [&'static str; 2]| {
        let own = ip(from, to);
        let what = format!("{from} port {source} to {to} port {destination}");
        (what, dir, own.frame(17, &own.udp(source, destination, b"mark")), end[usize::from(!through)])
    };
    let never = ["no_rule"; 2];
    let passes = ["dhcp", "no_rule"];
    vec![
        row(OUT, ("0.0.0.0", 68), ("255.255.255.255", 67), ["dhcp", "spoofed"]),
        row(OUT, (HOST4, 68), (STRANGERS[0], 67), passes),
        row(IN, (STRANGERS[0], 67), (HOST4, 68), passes),
        row(IN, (STRANGERS[0], 68), (HOST4, 67), never),
        row(OUT, (HOST4, 67), (STRANGERS[0], 68), never),
        row(OUT, ("fe80::1", 546), ("ff02::1:2", 547), passes),
        row(IN, (NEAR, 547), ("fe80::1", 546), passes),
        row(IN, (STRANGERS[1], 547), (HOST6, 546), never),
        row(IN, (NEAR, 546), ("fe80::1", 547), never),
    ]
}

fn expect(kernel: &Kernel, rows: Vec<Row>) -> usize {
    const PASSES: [&str; 5] = ["new", "flow", "neighbour", "dhcp", "not_ip"];
    let count = rows.len();
    for (what, dir, frame, reason) in rows {
        let verdict = if PASSES.contains(&reason) { "pass" } else { "drop" };
        let (passes, end) = kernel.judge(dir, &frame);
        assert_eq!((passes, end.verdict, end.reason), (verdict == "pass", verdict, reason), "{what}, {}", dir.label());
    }
    count
}

/// Makes every fragment that is remembered older.
fn wait<const KEY: usize>(lab: &Lab, name: &str, seconds: u32) {
    let map = Map::LruHashMap(MapData::from_pin(lab.pins().join("maps").join(name)).unwrap());
    let mut map = HashMap::<_, [u8; KEY], [u32; 2]>::try_from(map).unwrap();
    for key in map.keys().map(Result::unwrap).collect::<Vec<_>>() {
        let [epoch, last] = map.get(&key, 0).unwrap();
        map.insert(key, [epoch, last.wrapping_sub(ticks(seconds))], 0).unwrap();
    }
}

#[test]
fn every_kind_of_packet_ends_as_is_written_of_it() {
    let Some(lab) = Lab::new("every kind of packet") else { return };
    let mut enforcer = lab.open();
    let kernel = Kernel::of(&lab);
    enforcer.install(&rules(), [1; 32], 0).unwrap();
    let groups = [links(), headers(), spoofed(), extension_headers(), neighbours(), leases(true)];
    let count: usize = groups.into_iter().map(|rows| expect(&kernel, rows)).sum();
    enforcer.install(&Table { no_dhcp: true, ..rules() }, [2; 32], 0).unwrap();
    println!("{} packets", count + expect(&kernel, leases(false)));
}

#[test]
fn a_fragment_passes_for_half_a_minute_after_its_first_and_under_the_same_rules() {
    let Some(lab) = Lab::new("fragments") else { return };
    let mut enforcer = lab.open();
    let kernel = Kernel::of(&lab);
    enforcer.install(&rules(), [1; 32], 0).unwrap();
    for own in inward() {
        let datagram = own.udp(5000, OPEN, &[7; 40]);
        let first = |id| own.fragment(17, id, 0, true, &datagram[..24]);
        let later = |id| own.fragment(17, id, 24, false, &datagram[24..]);
        let tell = |frame: &[u8], end: (&str, &str)| {
            let found = kernel.judge(IN, frame).1;
            assert_eq!((found.verdict, found.reason), end, "{}", own.source);
        };
        tell(&first(1), ("pass", "new"));
        tell(&later(1), ("pass", "fragment"));
        tell(&later(2), ("drop", "fragment"));
        wait::<12>(&lab, "frags4", 26);
        wait::<40>(&lab, "frags6", 26);
        tell(&later(1), ("pass", "fragment"));
        wait::<12>(&lab, "frags4", 5);
        wait::<40>(&lab, "frags6", 5);
        tell(&later(1), ("drop", "fragment"));
        tell(&first(3), ("pass", "flow"));
        enforcer.install(&rules(), [2; 32], 0).unwrap();
        tell(&later(3), ("drop", "fragment"));
    }
    let [_, own] = inward();
    let whole = own.fragment(17, 4, 0, false, &own.udp(5001, OPEN, b"mark"));
    assert_eq!(kernel.judge(IN, &whole).1.reason, "new", "a datagram in one fragment is not a fragment");
    let stray = own.fragment(17, 4, 8, false, b"mark");
    assert_eq!(kernel.judge(IN, &stray).1.verdict, "drop", "and nothing follows it");
}
