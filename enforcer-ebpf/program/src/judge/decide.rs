//! Whether a packet passes, and if not, why.

use enforcer_abi::{Reason, Verdict};

use super::{Judge, Outcome, Refusal};
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

/// What the rules say of a flow.
#[derive(Clone, Copy)]
struct Asked {
    /// Of the origin asked about last.
    found: Allowed,
    origin: u8,
    /// Of another origin, an audited rule allows it.
    audited: bool,
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
                Outcome::Pass(Reason::LaterFragment)
            } else {
                self.no(Reason::Fragment)
            };
        }
        if let Some(reason) = built_in {
            return Outcome::Pass(reason);
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
        let known = if headers.kind == Kind::NOTICE { None } else { self.find(headers.kind == Kind::TCP, &ends, opens) };
        self.weigh(headers, &ends, known, opens)
    }

    /// Refused on its own account.
    #[inline(always)]
    fn no(&self, reason: Reason) -> Outcome {
        Outcome::Refuse(self.refusal(reason, false))
    }

    /// An ICMP error passes if it quotes a packet of an approved flow, and never refreshes it.
    #[inline(always)]
    fn related(&self, headers: &Headers) -> Outcome {
        let Some(quoted) = quoted(self.packet, headers) else { return self.no(Reason::NoFlow) };
        let ends = Ends::of(&quoted, other(self.dir));
        let Some((_, flow)) = self.find(quoted.kind == Kind::TCP, &ends, false) else {
            return self.no(Reason::NoFlow);
        };
        let (epoch, denied) = flow.judged();
        if epoch == self.generation.epoch && !(denied && self.drops(flow.origin())) {
            Outcome::Pass(Reason::Related)
        } else {
            self.no(Reason::NoFlow)
        }
    }

    /// The live flow between `ends`, unless a packet that opens one would replace it.
    #[inline(always)]
    fn find(&self, tcp: bool, ends: &Ends, opens: bool) -> Option<(Place, &Live)> {
        if !tcp {
            return self.find_in(Place::Other, ends, false);
        }
        match self.find_in(Place::Tcp, ends, opens) {
            None => self.find_in(Place::Half, ends, opens),
            found => found,
        }
    }

    #[inline(always)]
    fn find_in(&self, place: Place, ends: &Ends, opens: bool) -> Option<(Place, &Live)> {
        let flow = self.world.flow(place, ends)?;
        let replaced = opens && (flow.closed() || flow.judged().1);
        (!replaced && !flow.expired(place, ends.proto, self.now)).then_some((place, flow))
    }

    /// The rules are asked in one place: about a flow not yet judged by this generation, and about one that would begin.
    #[inline(always)]
    fn weigh(&self, headers: &Headers, ends: &Ends, known: Option<(Place, &Live)>, opens: bool) -> Outcome {
        let flags = Flags(headers.flags);
        let current = match known {
            // No simultaneous open.
            Some((_, flow)) if opens && self.dir != flow.origin() => return self.no(Reason::Midflow),
            Some((_, flow)) => flow.judged().0 == self.generation.epoch,
            None if headers.kind == Kind::TCP && (flags.accepts() || flags.rst()) => return self.no(Reason::Midflow),
            None => false,
        };
        let origin = known.map(|(_, flow)| flow.origin());
        let asked = if current { None } else { Some(self.ask(headers, ends, origin)) };
        match (known, asked) {
            (Some((place, flow)), asked) => self.follow(headers, ends, place, flow, asked),
            (None, Some(asked)) => self.open(headers, ends, &asked),
            (None, None) => self.no(Reason::Internal),
        }
    }

    /// What the rules say of a flow of `origin`, or of the one this packet would open: in the packet's direction or, while
    /// live connections are being learnt, for TCP in mid-flow in the other.
    #[inline(always)]
    fn ask(&self, headers: &Headers, ends: &Ends, known: Option<u8>) -> Asked {
        let learns = self.learning && headers.kind == Kind::TCP && !Flags(headers.flags).opens();
        let mut asked = Asked { found: Allowed::No, origin: known.unwrap_or(self.dir), audited: false };
        let mut service = ends.service(asked.origin);
        if known.is_none() && headers.kind == Kind::REPLY {
            service = u32::from(ends.proto) << 16 | u32::from(headers.icmp);
        }
        for _ in 0..2 {
            asked.found = allowed(self.world, self.slot, self.generation, asked.origin, ends, service, self.veil);
            if known.is_some() || !learns || asked.found.permits(self.generation.flags, asked.origin) {
                break;
            }
            asked.audited |= matches!(asked.found, Allowed::Audited { .. });
            asked.origin = other(asked.origin);
            service = ends.service(asked.origin);
        }
        asked
    }

    /// A packet of a known flow, with what the rules say of it if they have changed since.
    #[inline(always)]
    fn follow(&self, headers: &Headers, ends: &Ends, place: Place, flow: &Live, asked: Option<Asked>) -> Outcome {
        let origin = flow.origin();
        let denied = match asked {
            None => flow.judged().1,
            Some(asked) => {
                let denied = !asked.found.permits(self.generation.flags, origin);
                // A denied flow keeps the number of the rule that opened it, for what is told of its packets.
                flow.judge(self.generation.epoch, denied, if denied { flow.rule() } else { asked.found.rule() });
                denied
            }
        };
        let revoked = |tolerated| Refusal { reason: Reason::Revoked.into(), origin, rule: flow.rule(), opens: false, tolerated };
        if denied && self.drops(origin) {
            return Outcome::Refuse(revoked(false));
        }
        if flow.advance(place, headers, self.dir, self.now) && self.world.keep(Place::Tcp, ends, &flow.copy()) {
            self.world.forget(Place::Half, ends);
        }
        if denied { Outcome::Refuse(revoked(true)) } else { Outcome::Pass(Reason::Flow) }
    }

    /// A packet of no known flow: a rule must open one.
    #[inline(always)]
    fn open(&self, headers: &Headers, ends: &Ends, asked: &Asked) -> Outcome {
        if asked.found.permits(self.generation.flags, asked.origin) {
            return self.begin(headers, ends, asked.origin, asked.found);
        }
        if asked.audited || matches!(asked.found, Allowed::Audited { .. }) {
            self.world.count(headers.family, Verdict::WouldPass, Reason::AuditRule.into());
        }
        let opens =
            matches!(headers.kind, Kind::PLAIN | Kind::QUERY) || (headers.kind == Kind::TCP && Flags(headers.flags).opens());
        Outcome::Refuse(self.refusal(unopened(headers), opens))
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
        Outcome::Pass(if matches!(found, Allowed::Audited { .. }) { Reason::AuditRule } else { Reason::New })
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
