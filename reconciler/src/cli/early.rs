//! What has become of `host.xdp`, interface by interface, for `status` and `doctor`: asked for and not had is never silent.

use enforcer::{Observed, XdpState};

use crate::config::HostXdp;

/// Early drop of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Early {
    /// Neither asked for nor there.
    Off,
    /// It is there.
    Native,
    /// Asked for and not there, or the other way round; why.
    Otherwise(String),
}

impl Early {
    /// From what the configuration asks for and what was seen; nothing was where another firewall enforces.
    pub(super) fn of(asked: HostXdp, seen: Option<&Observed>, interface: &str) -> Self {
        let hook = seen.map(|seen| seen.xdp.iter().find(|hook| hook.ifname == interface));
        match (asked, hook.map(|hook| hook.map(|hook| (hook.wanted, &hook.state)))) {
            (HostXdp::Off, Some(Some((true, _)))) => Self::Otherwise("no longer configured; ends with the next start".to_owned()),
            (HostXdp::Off, _) => Self::Off,
            (HostXdp::Native, None) => Self::Otherwise("not in use: nothing is enforced with eBPF here".to_owned()),
            (HostXdp::Native, Some(Some((_, XdpState::Native)))) => Self::Native,
            (HostXdp::Native, Some(Some((_, XdpState::Busy { by })))) => Self::Otherwise(format!("not in use: {by} has the hook")),
            (HostXdp::Native, Some(Some((_, XdpState::Unsupported { why })))) => Self::Otherwise(format!("not in use: {why}")),
            (HostXdp::Native, Some(Some((_, XdpState::Detached)))) => Self::Otherwise("not in use: it was detached".to_owned()),
            (HostXdp::Native, Some(Some((_, XdpState::Off)) | None)) => {
                Self::Otherwise("not in use: the controller's log says why".to_owned())
            }
        }
    }

    /// `off`, `native`, or what is otherwise.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Off => "off",
            Self::Native => "native",
            Self::Otherwise(why) => why,
        }
    }
}

#[cfg(test)]
mod tests {
    use enforcer::XdpHook;

    use super::*;

    #[test]
    fn early_drop_that_was_asked_for_and_is_not_there_is_told_with_its_reason() {
        let seen = |wanted, state| {
            let hook = XdpHook { ifname: "eth0".to_owned(), ifindex: 2, wanted, state };
            Observed { xdp: vec![hook], ..Observed::default() }
        };
        let of = |asked, seen: Option<&Observed>| Early::of(asked, seen, "eth0").text().to_owned();
        assert_eq!(of(HostXdp::Native, Some(&seen(true, XdpState::Native))), "native");
        assert_eq!(of(HostXdp::Native, Some(&seen(false, XdpState::Off))), "not in use: the controller's log says why");
        assert_eq!(of(HostXdp::Native, Some(&Observed::default())), "not in use: the controller's log says why");
        let busy = XdpState::Busy { by: "program 7 (other)".to_owned() };
        assert_eq!(of(HostXdp::Native, Some(&seen(false, busy.clone()))), "not in use: program 7 (other) has the hook");
        assert_eq!(of(HostXdp::Native, None), "not in use: nothing is enforced with eBPF here");
        assert_eq!(of(HostXdp::Off, Some(&seen(false, busy))), "off");
        assert_eq!(of(HostXdp::Off, Some(&seen(true, XdpState::Native))), "no longer configured; ends with the next start");
    }
}
