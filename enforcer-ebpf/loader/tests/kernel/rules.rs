//! The loaded programs agree with [`model`](crate::model), at the edges above all.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use enforcer::{Cidr, Direction, Interval, Mode, Table};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};

use crate::{
    lab::Lab,
    model::verdict,
    packet::{opening, seen},
};

fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    let start = select(vec![0x06_0000_u32, 0x06_01BB, 0x11_0035, 0x01_0800, 0x01_0000, 0x3A_8000, 0x2F_0000, 0x84_1000, 0]);
    let one = (start, 0_u32..3, select(vec![0_u32, 1, 7, 0xFFFF, 0x2_0000]), 1_u32..100, any::<bool>());
    prop::collection::vec(one, 0..6).prop_map(|mut list| {
        list.sort_unstable();
        let mut free_from = 0;
        let mut disjoint = Vec::new();
        for (start, skip, width, rule, audit) in list {
            let lo = (start + skip).max(free_from);
            let hi = (lo + width).min(0xFF_FFFF);
            disjoint.push(Interval { lo, hi, rule, audit });
            free_from = hi + 1;
        }
        disjoint
    })
}

fn prefix() -> impl Strategy<Value = Cidr> {
    let v4 = (select(vec![0x0A01_0203_u32, 0x0A01_0280, 0xC000_0201]), select(vec![0_u8, 8, 15, 16, 23, 24, 25, 31, 32])).prop_map(
        |(addr, len)| {
            let kept = u32::try_from(u64::from(u32::MAX) << (32 - len) & 0xFFFF_FFFF).unwrap();
            Cidr::new(Ipv4Addr::from(addr & kept).into(), len).unwrap()
        },
    );
    let base = 0x2001_0db8_0000_0001_0000_0000_0000_0001_u128;
    let v6 =
        (select(vec![base, base ^ 1 << 64, base ^ 2]), select(vec![0_u8, 1, 32, 63, 64, 65, 127, 128])).prop_map(|(addr, len)| {
            let kept = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Cidr::new(Ipv6Addr::from(addr & kept).into(), len).unwrap()
        });
    prop_oneof![v4, v6]
}

pub(crate) fn table() -> impl Strategy<Value = Table> {
    let direction = select(vec![Direction::In, Direction::Out]);
    let prefixes = prop::collection::vec(((direction, prefix()), intervals()), 0..10);
    let mode = || select(vec![None, Some(Mode::Enforce), Some(Mode::Enforce), Some(Mode::Audit)]);
    (mode(), mode(), any::<bool>(), [intervals(), intervals(), intervals(), intervals()], prefixes).prop_map(
        |(isolate_in, isolate_out, no_dhcp, any, prefixes)| {
            let prefixes: BTreeMap<_, _> = prefixes.into_iter().collect();
            let prefixes = prefixes.into_iter().map(|((direction, cidr), list)| (direction, cidr, list)).collect();
            Table { isolate_in, isolate_out, no_dhcp, any, prefixes }.sorted()
        },
    )
}

/// First and last address of every prefix, and the ones beside them, where packets can come from.
pub(crate) fn peers(table: &Table) -> Vec<IpAddr> {
    let mut peers: Vec<IpAddr> = vec!["10.1.2.3".parse().unwrap(), "2001:db8::9".parse().unwrap()];
    for (_, cidr, _) in &table.prefixes {
        match cidr.addr() {
            IpAddr::V4(first) => {
                let first = first.to_bits();
                let last = first | u32::try_from(u64::from(u32::MAX) >> cidr.prefix_len()).unwrap();
                let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                peers.extend(near.map(|addr| IpAddr::V4(addr.into())));
            }
            IpAddr::V6(first) => {
                let first = first.to_bits();
                let last = first | u128::MAX.checked_shr(cidr.prefix_len().into()).unwrap_or(0);
                let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                peers.extend(near.map(|addr| IpAddr::V6(addr.into())));
            }
        }
    }
    peers.retain(|peer| match peer {
        IpAddr::V4(v4) => (1..224).contains(&v4.octets()[0]) && !v4.is_loopback(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xE000 == 0x2000,
    });
    peers
}

/// Bounds of every interval, and the services beside them; no ICMP errors, which are judged by flows.
pub(crate) fn services(table: &Table) -> Vec<u32> {
    let lists = table.any.iter().chain(table.prefixes.iter().map(|(_, _, list)| list));
    let mut services: Vec<u32> = vec![0x06_0016, 0x11_0035, 0x01_0800, 0x3A_8000];
    for own in lists.flatten() {
        services.extend([own.lo.saturating_sub(1), own.lo, own.hi, own.hi + 1]);
    }
    services.retain(|service| {
        let [_, proto, kind, _] = service.to_be_bytes();
        match proto {
            1 => ![3, 11, 12].contains(&kind),
            // Built-in neighbour and listener discovery too.
            58 => !(1..=4).contains(&kind) && !(130..=143).contains(&kind),
            // Extension headers.
            _ => ![0, 43, 44, 60].contains(&proto),
        }
    });
    services.sort_unstable();
    services.dedup();
    services
}

#[test]
fn the_loaded_programs_agree_with_the_table() {
    let Some(lab) = Lab::new("comparing the loaded programs with the table") else { return };
    let enforcer = RefCell::new(lab.open());
    let checker = enforcer.borrow().checker().unwrap();
    let runs = Cell::new(0_u32);
    let mut runner = TestRunner::new(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&table(), |table| {
        let slot = enforcer.borrow_mut().install(&table, [0; 32], 0).unwrap().slot;
        for peer in peers(&table) {
            for service in services(&table) {
                for direction in Direction::ALL {
                    let packet = opening(direction == Direction::In, peer, service);
                    let expected = verdict(&table, direction, peer, seen(service, peer.is_ipv6()));
                    let checked = checker.check(direction, slot, &packet).unwrap();
                    let found = (checked.passes, checked.would_drop, checked.rule);
                    prop_assert_eq!(
                        found,
                        (expected.passes, expected.would_drop, expected.rule),
                        "{:?} {} {:#x} {}",
                        direction,
                        peer,
                        service,
                        checked.reason
                    );
                    runs.set(runs.get() + 1);
                }
            }
        }
        prop_assert_eq!(enforcer.borrow().observe().unwrap().table, Some(table));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{} packets compared", runs.get());
}

#[test]
fn a_table_over_the_limits_leaves_the_kernel_alone() {
    let Some(lab) = Lab::new("installing") else { return };
    let mut enforcer = lab.open();
    enforcer.install(&Table::default(), [1; 32], 5).unwrap();
    let many = (0..=131_072_u32).map(|n| {
        let cidr = Cidr::new(Ipv4Addr::from(n << 1).into(), 31).unwrap();
        (Direction::In, cidr, vec![])
    });
    let table = Table { prefixes: many.collect(), ..Table::default() };
    assert!(matches!(enforcer.install(&table, [2; 32], 0), Err(enforcer::Error::Table(_))));
    assert_eq!(enforcer.observe().unwrap().epoch, 5);
}
