//! The host of a line.

/// Longest name of a host (RFC 1035, section 2.3.4).
const LONGEST: usize = 255;

/// The host in a prefix, the text between the stamp and the entry. With RFC
/// 5424 the host comes first; otherwise a single word with a colon is the
/// program, as in dmesg(8).
pub(super) fn of(prefix: &[u8], rfc5424: bool) -> Option<&[u8]> {
    let mut words = prefix.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let mut word = words.next()?;
    // `<kern.info>` of `syslogd -v`.
    if word.first() == Some(&b'<') && word.last() == Some(&b'>') {
        word = words.next()?;
    }
    let part = |b: &u8| b.is_ascii_alphanumeric() || b"-._:%".contains(b);
    let name = word.len() <= LONGEST && word.iter().all(part) && word != b"-";
    let program = !rfc5424 && (word.last() == Some(&b':') || words.next().is_none());
    (name && !program).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_prefixes() {
        let host = |prefix: &'static str, rfc5424| of(prefix.as_bytes(), rfc5424);
        for prefix in [" gw kernel: ", " <kern.info> gw kernel: ", "  gw kernel: ["] {
            assert_eq!(host(prefix, false), Some(b"gw".as_slice()), "{prefix}");
        }
        assert_eq!(
            host(" fe80::1 kernel: ", false),
            Some(b"fe80::1".as_slice())
        );
        assert_eq!(
            host(" gw.lab kernel - - - ", true),
            Some(b"gw.lab".as_slice())
        );
        for (prefix, rfc5424) in [
            ("", false),
            (" kernel: ", false),
            (" - kernel - - - ", true),
            (" \x1b[31m kernel: ", false),
        ] {
            assert_eq!(host(prefix, rfc5424), None, "{prefix}");
        }
    }
}
