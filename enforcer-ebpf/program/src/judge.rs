//! The verdict about one packet at an enforcing hook.
//!
//! [`decide`](Judge::decide) only says pass or refuse, with a reason; [`settle`](Judge::settle) turns that into what
//! happens, in one place: the failsafe first, then drop where the direction is enforced, count where it is audited.

use enforcer_abi::{Failsafe, Generation, IN, Reason, TICK_SHIFT, V4, Verdict};

use crate::{
    addr::{octets, spoofed, unspecified},
    builtin::built_in,
    flow::{Ends, Live, begin, other},
    parse::{Headers, Kind, Packet, Part, parse, veil},
    related::quoted,
    rules::{Allowed, allowed},
    tcp::Flags,
    tell::{Refused, tell},
    world::{Place, World},
};

/// What was decided about a packet.
enum Outcome {
    /// Let it pass.
    Pass(Reason),
    /// Refuse it.
    Refuse(Refusal),
}

/// What is refused, as part of a flow of `origin`.
#[derive(Clone, Copy)]
struct Refusal {
    reason: Reason,
    origin: u8,
    /// The rule that allowed the flow before.
    rule: u32,
    /// It would have opened a flow.
    opens: bool,
    /// Its flow goes on, because nothing is dropped here; the failsafe is not asked.
    tolerated: bool,
}

/// One packet, the generation that judges it, and everything around them.
struct Judge<'a, W, P> {
    world: &'a W,
    packet: &'a P,
    generation: &'a Generation,
    slot: u32,
    /// The host as a whole is only audited.
    audit: bool,
    learning: bool,
    now: u32,
    dir: u8,
}

/// Whether `packet`, which crosses the host in direction `dir`, may go on.
#[inline(always)]
pub fn judge<W: World, P: Packet>(world: &W, packet: &P, dir: u8) -> bool {
    let word = world.control();
    let clock = world.clock();
    let now = (clock >> TICK_SHIFT) as u32;
    let (slot, audit) = word.in_force(now);
    let Some(generation) = world.generation(slot) else {
        world.count(V4, Verdict::Drop, Reason::Internal);
        return false;
    };
    if !Generation::isolates(generation.flags) {
        world.count(V4, Verdict::Pass, Reason::Unselected);
        return true;
    }
    let judge = Judge { world, packet, generation, slot, audit, learning: word.learning(), now, dir };
    let (headers, outcome) = match parse(packet) {
        Ok(Some(headers)) => {
            let headers = headers.forget(veil(clock));
            let outcome = judge.decide(&headers);
            (headers, outcome)
        }
        Ok(None) => {
            world.count(V4, Verdict::Pass, Reason::NotIp);
            return true;
        }
        Err(reason) => (Headers::unread(), judge.no(reason)),
    };
    judge.settle(&headers, outcome)
}

impl<W: World, P: Packet> Judge<'_, W, P> {
    #[inline(always)]
    fn decide(&self, headers: &Headers) -> Outcome {
        let built_in = built_in(headers, self.dir);
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
        if headers.kind != Kind::NOTICE
            && let Some((place, flow)) = self.find(headers.kind == Kind::TCP, &ends, opens)
        {
            return self.follow(headers, &ends, place, flow, opens);
        }
        self.open(headers, &ends)
    }

    /// Refused on its own account.
    #[inline(always)]
    fn no(&self, reason: Reason) -> Outcome {
        self.refusal(reason, false)
    }

    #[inline(always)]
    fn refusal(&self, reason: Reason, opens: bool) -> Outcome {
        Outcome::Refuse(Refusal { reason, origin: self.dir, rule: 0, opens, tolerated: false })
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

    /// A packet of a known flow: judged again if the rules have changed since.
    #[inline(always)]
    fn follow(&self, headers: &Headers, ends: &Ends, place: Place, flow: &Live, opens: bool) -> Outcome {
        let origin = flow.origin();
        if opens && self.dir != origin {
            return self.no(Reason::Midflow);
        }
        let (epoch, mut denied) = flow.judged();
        if epoch != self.generation.epoch {
            let found = self.allowed(origin, ends, ends.service(origin));
            denied = !found.permits(self.generation.flags, origin);
            // A denied flow keeps the number of the rule that opened it, for what is told of its packets.
            flow.judge(self.generation.epoch, denied, if denied { flow.rule() } else { found.rule() });
        }
        let revoked = |tolerated| Refusal { reason: Reason::Revoked, origin, rule: flow.rule(), opens: false, tolerated };
        if denied && self.drops(origin) {
            return Outcome::Refuse(revoked(false));
        }
        if flow.advance(place, headers, self.dir, self.now) && self.world.keep(Place::Tcp, ends, &flow.copy()) {
            self.world.forget(Place::Half, ends);
        }
        if denied { Outcome::Refuse(revoked(true)) } else { Outcome::Pass(Reason::Flow) }
    }

    /// A packet of no known flow: a rule must open one, in the packet's direction or, while live connections are being
    /// learnt, for TCP in mid-flow in the other.
    #[inline(always)]
    fn open(&self, headers: &Headers, ends: &Ends) -> Outcome {
        let tcp = headers.kind == Kind::TCP;
        let flags = Flags(headers.flags);
        if tcp && (flags.accepts() || flags.rst()) {
            return self.no(Reason::Midflow);
        }
        let mut origin = self.dir;
        let mut service = ends.service(origin);
        if headers.kind == Kind::REPLY {
            service = u32::from(ends.proto) << 16 | u32::from(headers.icmp);
        }
        let tries = if self.learning && tcp && !flags.opens() { 2 } else { 1 };
        let mut audited = false;
        for _ in 0..tries {
            let found = self.allowed(origin, ends, service);
            if found.permits(self.generation.flags, origin) {
                return self.begin(headers, ends, origin, found);
            }
            audited |= matches!(found, Allowed::Audited { .. });
            origin = other(origin);
            service = ends.service(origin);
        }
        if audited {
            self.world.count(headers.family, Verdict::WouldPass, Reason::AuditRule);
        }
        let reason = match headers.kind {
            Kind::TCP if !flags.opens() => Reason::Midflow,
            Kind::REPLY => Reason::NoFlow,
            _ => Reason::NoRule,
        };
        let opens = matches!(headers.kind, Kind::PLAIN | Kind::QUERY) || (tcp && flags.opens());
        self.refusal(reason, opens)
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
    fn remember(&self, headers: &Headers, ends: &Ends, origin: u8, denied: bool, rule: u32) -> bool {
        let flow = begin(self.generation.epoch, denied, rule, origin, self.now);
        if headers.kind != Kind::TCP {
            return self.world.keep(Place::Other, ends, &flow);
        }
        // What an earlier connection between these ends left there would be found first.
        self.world.forget(Place::Tcp, ends);
        self.world.keep(Place::Half, ends, &flow)
    }

    #[inline(always)]
    fn allowed(&self, origin: u8, ends: &Ends, service: u32) -> Allowed {
        allowed(self.world, self.slot, self.generation, origin, ends, service)
    }

    /// Whether what is refused in a flow of `origin` is dropped.
    #[inline(always)]
    fn drops(&self, origin: u8) -> bool {
        Generation::enforces(self.generation.flags, origin) && !self.audit
    }

    #[inline(always)]
    fn settle(&self, headers: &Headers, outcome: Outcome) -> bool {
        let passes = match outcome {
            Outcome::Pass(reason) => {
                self.world.count(headers.family, Verdict::Pass, reason);
                true
            }
            Outcome::Refuse(refusal) if !refusal.tolerated && self.failsafe(headers) => {
                self.world.count(headers.family, Verdict::Pass, Reason::Failsafe);
                true
            }
            Outcome::Refuse(refusal) => self.refuse(headers, refusal),
        };
        if passes && headers.part == Part::FIRST {
            self.world.keep_fragment(headers, self.dir, self.generation.epoch, self.now);
        }
        passes
    }

    /// Drops where the flow's origin is enforced, counts where it is isolated at all, and tells of both; whether the packet
    /// passes. The one place where anything is dropped, but for a generation that cannot be missing.
    #[inline(always)]
    fn refuse(&self, headers: &Headers, refusal: Refusal) -> bool {
        let (reason, origin) = (refusal.reason, refusal.origin);
        let flags = self.generation.flags;
        let isolated = refusal.tolerated || Generation::enforces(flags, origin) || Generation::audits(flags, origin);
        let verdict = match (self.drops(origin) && !refusal.tolerated, isolated) {
            (true, _) => Verdict::Drop,
            (false, true) => Verdict::WouldDrop,
            (false, false) => Verdict::Pass,
        };
        self.world.count(headers.family, verdict, reason);
        let mut ends = Ends::of(headers, self.dir);
        if verdict != Verdict::Pass {
            // A reply to no query is what it is, not a service with the number of its identifier.
            if headers.kind == Kind::REPLY && origin == self.dir {
                ends = ends.with_service(origin, headers.icmp);
            }
            let refused = Refused { verdict, reason, origin, rule: refusal.rule, epoch: self.generation.epoch };
            tell(self.world, &refused, &ends, self.packet.interface(), self.now);
        }
        if verdict != Verdict::Drop && refusal.opens {
            self.remember(headers, &Ends::of(headers, self.dir), self.dir, true, 0);
        }
        verdict != Verdict::Drop
    }

    /// Whether the host's failsafe names this packet, as part of a flow of either end. A packet that opens a
    /// connection is never taken for the reply side.
    #[inline(always)]
    fn failsafe(&self, headers: &Headers) -> bool {
        if matches!(headers.part, Part::LATER | Part::UNREAD) {
            return false;
        }
        let ends = Ends::of(headers, self.dir);
        let opens = headers.kind == Kind::TCP && Flags(headers.flags).opens();
        let mut origin = self.dir;
        for _ in 0..2 {
            if (!opens || origin == self.dir) && self.world.failsafe(&failsafe_key(&ends, origin)) {
                return true;
            }
            origin = other(origin);
        }
        false
    }
}

#[inline(always)]
fn failsafe_key(ends: &Ends, origin: u8) -> Failsafe {
    let width = if ends.family == V4 { 32 } else { 128 };
    let port = if origin == IN { ends.local_port } else { ends.remote_port };
    Failsafe { prefix_len: 32 + width, side: origin | ends.family << 1, proto: ends.proto, port, addr: octets(&ends.remote) }
}
