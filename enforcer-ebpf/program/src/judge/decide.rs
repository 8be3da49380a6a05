//! Whether a packet passes, and if not, why.

use enforcer_abi::{Reason, Verdict};

use super::{Judge, Outcome};
use crate::{
    addr::{spoofed, unspecified},
    builtin::built_in,
    flow::{Ends, Live, begin, other},
    parse::{Headers, Kind, Packet, Part},
    related::quoted,
    rules::{Allowed, allowed},
    tcp::Flags,
    world::{Place, World},
};

/// What the rules say of a flow: words that are always written, as those of [`Outcome`].
#[derive(Clone, Copy)]
struct Asked {
    /// Of the origin asked about last; nothing if they were not asked.
    found: Allowed,
    origin: u32,
    /// Of another origin, an audited rule allows it.
    audited: u32,
    /// Whether they were asked at all.
    asked: u32,
}

/// A flow, if there is one, and the table it is in.
#[derive(Clone, Copy)]
struct Known<'a> {
    place: Place,
    flow: Option<&'a Live>,
}

impl<W: World, P: Packet> Judge<'_, W, P> {
    #[inline(always)]
    pub(super) fn decide(&self, headers: &Headers) -> Outcome {
        let built_in = built_in(headers, self.dir, self.generation.flags);
        let nowhere = unspecified(&headers.source) && built_in.is_none();
        if nowhere || spoofed(headers.family, &headers.source, &headers.destination) {
            return self.no(Reason::Spoofed);
        }
        if headers.part == Part::LATER {
            return if self.world.fragment_passed(headers, self.dir, self.generation.epoch, self.now) {
                Outcome::pass(Reason::LaterFragment)
            } else {
                self.no(Reason::Fragment)
            };
        }
        if let Some(reason) = built_in {
            return Outcome::pass(reason);
        }
        if headers.kind == Kind::ERROR {
            return self.related(headers);
        }
        let flags = Flags(headers.flags);
        if headers.kind == Kind::TCP && !flags.valid() {
            return self.no(Reason::TcpFlags);
        }
        let ends = Ends::of(headers, self.dir);
        let opens = headers.kind == Kind::TCP && flags.opens();
        let known = if headers.kind == Kind::NOTICE {
            Known { place: Place::Other, flow: None }
        } else {
            self.find(headers.kind == Kind::TCP, &ends, opens)
        };
        self.weigh(headers, &ends, known, opens)
    }

    /// Refused on its own account.
    #[inline(always)]
    fn no(&self, reason: Reason) -> Outcome {
        Outcome::refuse(reason, self.dir)
    }

    /// An ICMP error passes if it quotes a packet of an approved flow, and never refreshes it.
    #[inline(always)]
    fn related(&self, headers: &Headers) -> Outcome {
        let Some(quoted) = quoted(self.packet, headers) else { return self.no(Reason::NoFlow) };
        let ends = Ends::of(&quoted, other(self.dir));
        let Some(flow) = self.find(quoted.kind == Kind::TCP, &ends, false).flow else {
            return self.no(Reason::NoFlow);
        };
        let (epoch, denied) = flow.judged();
        if epoch == self.generation.epoch && !(denied && self.drops(flow.origin())) {
            Outcome::pass(Reason::Related)
        } else {
            self.no(Reason::NoFlow)
        }
    }

    /// The live flow between `ends`, unless a packet that opens one would replace it.
    #[inline(always)]
    fn find(&self, tcp: bool, ends: &Ends, opens: bool) -> Known<'_> {
        if !tcp {
            return Known { place: Place::Other, flow: self.find_in(Place::Other, ends, false) };
        }
        let flow = self.find_in(Place::Tcp, ends, opens);
        if flow.is_some() {
            return Known { place: Place::Tcp, flow };
        }
        Known { place: Place::Half, flow: self.find_in(Place::Half, ends, opens) }
    }

    #[inline(always)]
    fn find_in(&self, place: Place, ends: &Ends, opens: bool) -> Option<&Live> {
        let flow = self.world.flow(place, ends)?;
        let replaced = opens && (flow.closed() || flow.judged().1);
        if replaced || flow.expired(place, ends.proto, self.now) { None } else { Some(flow) }
    }

    /// The rules are asked in one place: about a flow not yet judged by this generation, and about one that would begin.
    #[inline(always)]
    fn weigh(&self, headers: &Headers, ends: &Ends, known: Known<'_>, opens: bool) -> Outcome {
        let flags = Flags(headers.flags);
        let current = match known.flow {
            // No simultaneous open.
            Some(flow) if opens && self.dir != flow.origin() => return self.no(Reason::Midflow),
            // An identifier may look like the type of the other direction's message: a question is its opener's, an answer is not.
            Some(flow) if headers.kind == Kind::QUERY && self.dir != flow.origin() => return self.no(Reason::Midflow),
            Some(flow) if headers.kind == Kind::REPLY && self.dir == flow.origin() => return self.no(Reason::Midflow),
            Some(flow) => flow.judged().0 == self.generation.epoch,
            None if headers.kind == Kind::TCP && (flags.accepts() || flags.rst()) => return self.no(Reason::Midflow),
            None => false,
        };
        let asked = if current {
            Asked { found: Allowed::no(), origin: 0, audited: 0, asked: 0 }
        } else {
            self.ask(headers, ends, known.flow)
        };
        match known.flow {
            Some(flow) => self.follow(headers, ends, known.place, flow, &asked),
            None => self.open(headers, ends, &asked),
        }
    }

    /// What the rules say of a flow of `origin`, or of the one this packet would open: in the packet's direction or, while
    /// live connections are being learnt, for TCP in mid-flow in the other.
    #[inline(always)]
    fn ask(&self, headers: &Headers, ends: &Ends, known: Option<&Live>) -> Asked {
        let learns = self.learning && headers.kind == Kind::TCP && !Flags(headers.flags).opens();
        let mut origin = known.map_or(self.dir, Live::origin);
        let mut audited = false;
        let mut service = ends.service(origin);
        if known.is_none() && headers.kind == Kind::REPLY {
            service = u32::from(ends.proto) << 16 | u32::from(headers.icmp);
        }
        let mut found = Allowed::no();
        for _ in 0..2 {
            found = allowed(self.world, self.slot, self.generation, origin, ends, service);
            if known.is_some() || !learns || found.permits(self.generation.flags, origin) {
                break;
            }
            // What one direction's rules say is not to be taken for an answer of the other's.
            audited |= found.is_audited();
            found = Allowed::no();
            origin = other(origin);
            service = ends.service(origin);
        }
        Asked { found, origin: u32::from(origin), audited: u32::from(audited), asked: 1 }
    }

    /// A packet of a known flow, with what the rules say of it if they have changed since.
    #[inline(always)]
    fn follow(&self, headers: &Headers, ends: &Ends, place: Place, flow: &Live, asked: &Asked) -> Outcome {
        let origin = flow.origin();
        let denied = if asked.asked == 0 {
            flow.judged().1
        } else {
            let denied = !asked.found.permits(self.generation.flags, origin);
            // A denied flow keeps the number of the rule that opened it, for what is told of its packets.
            flow.judge(self.generation.epoch, denied, if denied { flow.rule() } else { asked.found.rule() });
            denied
        };
        let revoked = |tolerated| Outcome { rule: flow.rule(), tolerated, ..Outcome::refuse(Reason::Revoked, origin) };
        if denied && self.drops(origin) {
            return revoked(0);
        }
        if flow.advance(place, headers, self.dir, self.now) && self.world.keep(Place::Tcp, ends, &flow.copy()) {
            self.world.forget(Place::Half, ends);
        }
        if denied { revoked(1) } else { Outcome::pass(Reason::Flow) }
    }

    /// A packet of no known flow: a rule must open one.
    #[inline(always)]
    fn open(&self, headers: &Headers, ends: &Ends, asked: &Asked) -> Outcome {
        let origin = asked.origin as u8;
        if asked.found.permits(self.generation.flags, origin) {
            return self.begin(headers, ends, origin, asked.found);
        }
        if asked.audited != 0 || asked.found.is_audited() {
            self.world.count(headers.family, Verdict::WouldPass, Reason::AuditRule.into());
        }
        let opens =
            matches!(headers.kind, Kind::PLAIN | Kind::QUERY) || (headers.kind == Kind::TCP && Flags(headers.flags).opens());
        Outcome { opens: u32::from(opens), ..self.no(unopened(headers)) }
    }

    /// Remembers the flow a rule has opened.
    #[inline(always)]
    fn begin(&self, headers: &Headers, ends: &Ends, origin: u8, found: Allowed) -> Outcome {
        let stateless = matches!(headers.kind, Kind::NOTICE | Kind::REPLY);
        if !stateless && !self.remember(headers, ends, origin, false, found.rule()) && Flags(headers.flags).opens() {
            // The sender tries again; other packets pass, as they will open the flow later.
            return self.no(Reason::TableFull);
        }
        let rule = found.rule();
        if rule != 0 {
            self.world.count_rule(rule);
        }
        Outcome::pass(if found.is_audited() { Reason::AuditRule } else { Reason::New })
    }

    #[inline(always)]
    pub(super) fn remember(&self, headers: &Headers, ends: &Ends, origin: u8, denied: bool, rule: u32) -> bool {
        let flow = begin(self.generation.epoch, denied, rule, origin, self.now);
        if headers.kind != Kind::TCP {
            return self.world.keep(Place::Other, ends, &flow);
        }
        // What an earlier connection between these ends left there would be found first.
        self.world.forget(Place::Tcp, ends);
        self.world.keep(Place::Half, ends, &flow)
    }
}

/// Why a packet that belongs to no flow and that no rule allows is refused.
#[inline(always)]
pub(crate) fn unopened(headers: &Headers) -> Reason {
    match headers.kind {
        Kind::TCP if !Flags(headers.flags).opens() => Reason::Midflow,
        Kind::REPLY => Reason::NoFlow,
        _ => Reason::NoRule,
    }
}
