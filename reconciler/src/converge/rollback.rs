//! Why a commit on trial was taken back, as it is counted.

/// Why a commit on trial was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollBack {
    /// Nobody vouched for it in time.
    Deadline,
    /// What connected before no longer did.
    Probe,
    /// Somebody wanted it so: by hand, or by a branch that went back.
    Operator,
    /// The host went down while it ran.
    Reboot,
}

impl RollBack {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deadline, Self::Probe, Self::Operator, Self::Reboot];

    /// As metrics name it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Probe => "probe",
            Self::Operator => "operator",
            Self::Reboot => "reboot",
        }
    }
}
