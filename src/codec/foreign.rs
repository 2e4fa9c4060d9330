//! Recognises the first bytes of a peer that speaks something else than line protocol.

/// A protocol that people point at a line-protocol port by mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// An HTTP request.
    Http,
    /// A TLS hello.
    Tls,
}

impl Foreign {
    /// What a connection's first bytes are, if they are plainly not line protocol. Asks for the
    /// whole first line of a request; a few bytes are enough for a TLS hello.
    pub fn detect(head: &[u8]) -> Option<Foreign> {
        // A handshake record of any TLS version: type 22, version 3.x, a client hello.
        if let [0x16, 0x03, 0x00..=0x04, _, _, 0x01, ..] = head {
            return Some(Foreign::Tls);
        }
        let line = head.split(|&b| b == b'\n').next()?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut words = line.splitn(3, |&b| b == b' ');
        let method = words.next()?;
        let _target = words.next()?;
        let version = words.next()?;
        let is_method = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase);
        (is_method && version.starts_with(b"HTTP/")).then_some(Foreign::Http)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_hellos_are_recognised_and_lines_are_not() {
        let http = b"POST /write?db=x HTTP/1.1\r\nHost: a\r\n";
        assert_eq!(Foreign::detect(http), Some(Foreign::Http));
        assert_eq!(Foreign::detect(b"PRI * HTTP/2.0\r\n\r\n"), Some(Foreign::Http));
        assert_eq!(Foreign::detect(&[0x16, 3, 1, 2, 0, 1, 0, 1]), Some(Foreign::Tls));
        for line in
            [&b"GET v=1 1\n"[..], b"m v=\"GET / HTTP/1.1\"\n", b"", b"GET ", b"m v=1 HTTP/1"]
        {
            assert_eq!(Foreign::detect(line), None);
        }
    }
}
