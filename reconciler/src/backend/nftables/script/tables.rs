//! One direction of a table, sorted into what a script needs: distinct lists of services, hosts, ranges.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use policy::lower::bpf::{Interval, Key, Rule, Table};
use policy::model::Mode;
use policy::net::{Cidr, Direction, Family};

use crate::backend::nftables::names::generation;
use crate::backend::nftables::ranges::{Piece, pieces};

/// A verdict map: full-length prefixes, or ranges.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) family: Family,
    /// `hosts` or `nets`.
    pub(super) kind: &'static str,
    /// In nft's words, with a comma after each.
    pub(super) elements: String,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Side<'a> {
    pub(super) direction: Direction,
    pub(super) name: String,
    pub(super) isolation: Option<Mode>,
    /// Distinct lists; their place is their number.
    pub(super) lists: Vec<Arc<[Interval]>>,
    pub(super) maps: Vec<Map>,
    /// Prefixes without a range of their own, and the number of their list.
    pub(super) covered: Vec<(Cidr, usize)>,
    any: [&'a [Interval]; 2],
}

impl<'a> Side<'a> {
    pub(super) fn of(table: &'a Table, direction: Direction, epoch: u64) -> Self {
        let isolation = match table.get(&Key::Isolation { direction }) {
            Some(Rule::Isolation(mode)) => Some(*mode),
            Some(Rule::Services(_)) | None => None,
        };
        let any = Family::BOTH.map(|family| match table.get(&Key::Any { direction, family }) {
            Some(Rule::Services(list)) => list.as_ref(),
            Some(Rule::Isolation(_)) | None => &[],
        });
        let name = generation(epoch, direction);
        let mut side = Self { direction, name, isolation, lists: Vec::new(), maps: Vec::new(), covered: Vec::new(), any };
        side.sort(table);
        side
    }

    fn sort(&mut self, table: &Table) {
        let mut numbers: HashMap<Arc<[Interval]>, usize> = HashMap::new();
        let mut nets: [BTreeMap<Cidr, usize>; 2] = Default::default();
        let mut hosts: [BTreeMap<Cidr, usize>; 2] = Default::default();
        for (key, rule) in table {
            let (Key::Prefix { direction, prefix }, Rule::Services(list)) = (key, rule) else { continue };
            if *direction != self.direction {
                continue;
            }
            let number = *numbers.entry(Arc::clone(list)).or_insert_with(|| {
                self.lists.push(Arc::clone(list));
                self.lists.len() - 1
            });
            let [v4, v6] = if prefix.length() == prefix.family().bits() { &mut hosts } else { &mut nets };
            if prefix.family() == Family::V4 { v4 } else { v6 }.insert(*prefix, number);
        }
        for (family, (hosts, nets)) in Family::BOTH.into_iter().zip(hosts.iter().zip(&nets)) {
            let mut elements = String::new();
            for (prefix, number) in hosts {
                let _ = write!(elements, "{} : goto {}_s{number},", prefix.first(), self.name);
            }
            self.maps.push(Map { family, kind: "hosts", elements });
            let (ranges, covered) = pieces(nets);
            let mut elements = String::new();
            ranges.iter().for_each(|piece| write_range(&mut elements, family, piece, &self.name));
            self.maps.push(Map { family, kind: "nets", elements });
            self.covered.extend(covered);
        }
    }

    pub(super) fn any(&self, family: Family) -> &[Interval] {
        let [v4, v6] = self.any;
        if family == Family::V4 { v4 } else { v6 }
    }

    /// Numbers of audited rules.
    pub(super) fn audited(&self) -> BTreeSet<u32> {
        self.intervals().filter(|interval| interval.audit).map(|interval| interval.rule).collect()
    }

    pub(super) fn intervals(&self) -> impl Iterator<Item = &Interval> {
        self.lists.iter().map(AsRef::as_ref).chain(self.any).flatten()
    }
}

fn write_range(out: &mut String, family: Family, piece: &Piece<usize>, name: &str) {
    let (range, number) = (piece.range, piece.value);
    let whole = piece.owner.filter(|owner| owner.bounds() == (range.first, range.last));
    // Writing to a string cannot fail.
    let _ = match (whole, piece.owner) {
        (Some(owner), _) => write!(out, "{owner} : goto {name}_s{number},"),
        (None, owner) => {
            let (first, last) = (family.address(range.first), family.address(range.last));
            let length = owner.map_or(0, Cidr::length);
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            write!(out, "{range} comment \"/{length}\" : goto {name}_s{number},")
        }
    };
}
