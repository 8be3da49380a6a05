//! TCP flags (RFC 9293), PSH, ECE and CWR ignored.

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// The flags of one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    /// Whether a connection can have them: the combinations `nf_conntrack` accepts.
    #[inline(always)]
    pub(crate) fn valid(self) -> bool {
        const VALID: [u8; 9] = [SYN, SYN | URG, SYN | ACK, ACK, ACK | URG, FIN | ACK, FIN | ACK | URG, RST, RST | ACK];
        let own = self.0 & (FIN | SYN | RST | ACK | URG);
        let mut set: u64 = 0;
        let mut n = 0;
        while n < VALID.len() {
            set |= 1 << VALID[n];
            n += 1;
        }
        set >> own & 1 != 0
    }

    /// A segment that opens a connection.
    #[inline(always)]
    pub(crate) fn opens(self) -> bool {
        self.0 & (SYN | ACK) == SYN
    }

    /// A segment that answers one that opens a connection.
    #[inline(always)]
    pub(crate) fn accepts(self) -> bool {
        self.0 & (SYN | ACK) == SYN | ACK
    }

    #[inline(always)]
    pub(crate) fn syn(self) -> bool {
        self.0 & SYN != 0
    }

    #[inline(always)]
    pub(crate) fn ack(self) -> bool {
        self.0 & ACK != 0
    }

    #[inline(always)]
    pub(crate) fn fin(self) -> bool {
        self.0 & FIN != 0
    }

    #[inline(always)]
    pub(crate) fn rst(self) -> bool {
        self.0 & RST != 0
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    #[test]
    fn of_the_32_combinations_nine_are_valid() {
        let valid: Vec<u8> = (0..64).filter(|own| own & 8 == 0 && Flags(*own).valid()).collect();
        assert_eq!(valid, [0x02, 0x04, 0x10, 0x11, 0x12, 0x14, 0x22, 0x30, 0x31]);
    }

    #[test]
    fn psh_ece_and_cwr_change_nothing() {
        assert!(Flags(0x18).valid() && Flags(0xC2).valid() && !Flags(0x08).valid());
    }
}
