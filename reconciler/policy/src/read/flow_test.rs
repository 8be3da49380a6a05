//! `kind: FlowTest`.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;

use super::cursor::{Cursor, Fields};
use super::document::{Document, Metadata};
use super::limits::ITEMS;
use super::names::Noun;
use super::ports;
use super::problem::Code;
use super::tree::Node;
use crate::model::Kind;
use crate::model::flow_test::{FlowTest, Party};
use crate::net::service::ICMP;
use crate::net::{Family, Service};

const FIELDS: &[&str] = &["name", "from", "to", "protocol", "port", "icmpType", "icmpCode", "expect"];
const EXPECT: [(&str, bool); 2] = [("allow", true), ("deny", false)];

/// Reads `spec`.
pub(super) fn read<'n>(cursor: &mut Cursor<'n, '_>, metadata: Option<Metadata>, node: &'n Node<'n>) -> Option<Document> {
    let fields = cursor.fields(node, &["flows"])?;
    let document = metadata.map(|metadata| metadata.name);
    Some(Document::FlowTest(
        cursor.each(&fields, "flows", ITEMS, Noun::Document(Kind::FlowTest), |cursor, node| flow(cursor, node, document.as_ref())),
    ))
}

fn flow<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>, document: Option<&Arc<str>>) -> Option<FlowTest> {
    let fields = cursor.fields(node, FIELDS)?;
    let name = cursor.optional(&fields, "name", |cursor, node| cursor.text(node).map(Arc::<str>::from));
    let from = cursor.required(&fields, "from", party);
    let to = cursor.required(&fields, "to", party);
    let protocol = cursor.required(&fields, "protocol", ports::protocol);
    let service = protocol.and_then(|protocol| service(cursor, &fields, protocol));
    let allow = cursor.required(&fields, "expect", |cursor, node| cursor.word(node, Code::BadValue, &EXPECT));
    let test = FlowTest {
        origin: cursor.origin(&fields),
        document: document?.clone(),
        name: name?,
        from: from?,
        to: to?,
        service: service?,
        allow: allow?,
    };
    possible(cursor, &fields, &test).then_some(test)
}

/// One first packet: a port, or for ICMP a type and, if it is not 0, a code.
fn service<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, protocol: u8) -> Option<Service> {
    let service = if ports::is_icmp(protocol) {
        let stray = ports::foreign(cursor, fields, ["port", "endPort"], "does not belong to ICMP; write icmpType and icmpCode");
        let kind = cursor.required(fields, "icmpType", ports::byte);
        let code = cursor.optional(fields, "icmpCode", ports::byte);
        Some(Service::icmp(protocol, kind?, code?.unwrap_or(0))).filter(|_| !stray)
    } else {
        let stray = ports::foreign(cursor, fields, ["icmpType", "icmpCode"], "belongs to ICMP and ICMPv6");
        let port = cursor.required(fields, "port", ports::number);
        Some(Service::new(protocol, port?)).filter(|_| !stray)
    };
    service.filter(|_| fields.whole)
}

/// `{address}`, `{endpoint}` or `{labels, namespace, address}`.
fn party<'n>(cursor: &mut Cursor<'n, '_>, node: &'n Node<'n>) -> Option<Party> {
    let fields = cursor.fields(node, &["address", "endpoint", "labels", "namespace"])?;
    let address = cursor.optional(&fields, "address", Cursor::address);
    let endpoint = cursor.optional(&fields, "endpoint", |cursor, node| cursor.name_of(node, Noun::Endpoint));
    let labels = cursor.optional(&fields, "labels", Cursor::labels);
    let namespace = cursor.optional(&fields, "namespace", |cursor, node| cursor.label_of(node, Noun::Namespace));
    if let Some(other) = ["address", "labels", "namespace"].into_iter().find(|key| fields.entry(key).is_some())
        && fields.entry("endpoint").is_some()
    {
        let message = "an endpoint has its own address, labels and namespace; write endpoint alone";
        cursor.contradiction(&fields, other, "endpoint", message.to_string());
        return None;
    }
    if fields.entry("namespace").is_some() {
        cursor.needs(&fields, "labels", "a namespace belongs to an endpoint made up for the test", "namespace")?;
    }
    if fields.entry("endpoint").is_none() && fields.whole {
        cursor.needs(&fields, "address", "write an address, an endpoint, or labels and an address", "labels")?;
    }
    let (address, endpoint, labels, namespace) = (address?, endpoint?, labels?, namespace?);
    match (address, endpoint, labels) {
        (_, Some(name), _) => Some(Party::Endpoint(name)),
        (Some(address), None, Some(labels)) => {
            Some(Party::MadeUp { labels, namespace: namespace.unwrap_or_else(|| "default".into()), address })
        }
        (Some(address), None, None) => Some(Party::Address(address)),
        (None, None, _) => None,
    }
}

/// No packet has addresses of both families, and ICMP belongs to one.
fn possible<'n>(cursor: &mut Cursor<'n, '_>, fields: &Fields<'n>, test: &FlowTest) -> bool {
    let family = |party: &Party| match party {
        Party::Address(address) | Party::MadeUp { address, .. } => Some(Family::of(*address)),
        Party::Endpoint(_) => None,
    };
    let at = |key| fields.value_at(key).unwrap_or(fields.at);
    let (from, to) = (family(&test.from), family(&test.to));
    if let (Some(from), Some(to)) = (from, to)
        && from != to
    {
        let message = format!("no packet goes from {} to {}", from.name(), to.name());
        cursor.contradiction(fields, "to", "from", message);
        return false;
    }
    let meant = if test.service.protocol() == ICMP { Family::V4 } else { Family::V6 };
    let other = from.or(to).filter(|family| test.service.is_icmp() && *family != meant);
    if let Some(family) = other {
        let message = format!("no packet can match: {} between {} addresses", test.service.protocol_name(), family.name());
        cursor.problem(Code::BadPort, at("protocol"), message);
    }
    other.is_none()
}
