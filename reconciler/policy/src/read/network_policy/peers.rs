//! `from` and `to`.
//!
//! A peer that cannot be read stays in the list as nobody: an empty list would mean everybody.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::cursor::{Cursor, Got};
use super::super::limits::{EXCEPTS_PER_BLOCK_MAX, PEERS_PER_RULE_MAX};
use super::super::problem::Code;
use super::super::tree::Node;
use super::selector;
use crate::model::{Block, Peer, Selected, Spot};
use crate::net::Cidr;

pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Vec<Peer>> {
    let max = ("PEERS_PER_RULE_MAX", PEERS_PER_RULE_MAX);
    let peers = cursor.items(node, max, |cursor, node| Some(peer(cursor, node).unwrap_or(Peer::Nobody { at: node.at })))?;
    Some(peers.into_iter().map(|peer| peer.unwrap_or(Peer::Nobody { at: node.at })).collect())
}

fn peer<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Peer> {
    let fields = cursor.fields(node, &["ipBlock", "podSelector", "namespaceSelector"])?;
    let pods = cursor.field(&fields, "podSelector", selector::read);
    let namespaces = cursor.field(&fields, "namespaceSelector", selector::read);
    let block = cursor.field(&fields, "ipBlock", block);
    let selects = pods != Got::Absent || namespaces != Got::Absent;
    match (block, selects) {
        (Got::Read(_) | Got::Broken, true) => {
            let message = "ipBlock stands alone; write the selector as an item of its own";
            cursor.problem(Code::BadPeer, node.at, message.to_string());
            None
        }
        // A second condition under a misspelt key would be missing.
        (block, false) if fields.entry("ipBlock").is_some() => block.read().filter(|_| fields.whole).map(Peer::Block),
        (_, true) => {
            let broken = pods == Got::Broken || namespaces == Got::Broken || !fields.whole;
            // Whom it selects is known once every file is read.
            let members = Arc::new([]);
            (!broken).then(|| Peer::Selected(Selected { at: node.at, pods: pods.read(), namespaces: namespaces.read(), members }))
        }
        (_, false) => {
            // An empty item and one whose only key was refused are different mistakes.
            if cursor.map(node).is_some_and(<[_]>::is_empty) {
                cursor.problem(Code::BadPeer, node.at, "this peer names nobody; write ipBlock or a selector".to_string());
            }
            None
        }
    }
}

fn block<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Block> {
    let fields = cursor.fields(node, &["cidr", "except"])?;
    let cidr = cursor.required(&fields, "cidr", Cursor::cidr);
    let max = ("EXCEPTS_PER_BLOCK_MAX", EXCEPTS_PER_BLOCK_MAX);
    let except = cursor.field(&fields, "except", |cursor, node| {
        cursor.items(node, max, |cursor, node| {
            let except = cursor.cidr(node)?;
            if let Some(cidr) = cidr {
                strictly_inside(cursor, node.at, except, cidr);
            }
            Some(except)
        })
    });
    let except = match except {
        Got::Absent if fields.whole => Vec::new(),
        // Without its exceptions the block would be wider than anybody wrote.
        Got::Absent | Got::Broken => return None,
        Got::Read(list) => list.into_iter().collect::<Option<Vec<Cidr>>>()?,
    };
    let block = Block { at: fields.value_at("cidr")?, cidr: cidr?, except };
    let told = block.except.iter().any(|e| e.covers(block.cidr));
    if !told && block.addresses(block.cidr.family()).is_empty() {
        cursor.problem_of(Code::BadExcept, &fields, "except", format!("nothing of {} is left; drop the peer", block.cidr));
    }
    Some(block)
}

/// Same family and a strict subset (S16).
fn strictly_inside(cursor: &mut Cursor<'_, '_>, at: Spot, except: Cidr, cidr: Cidr) {
    if except.family() != cidr.family() {
        let message = format!("{except} is {}, {cidr} is {}", except.family().name(), cidr.family().name());
        cursor.problem(Code::BadExcept, at, message);
    } else if !cidr.covers(except) || cidr == except {
        cursor.problem(Code::BadExcept, at, format!("{except} is not strictly inside {cidr}"));
    }
}
