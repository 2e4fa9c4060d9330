//! Recognises the first bytes of a peer that speaks something else than line protocol.

use memchr::memchr2;

/// A protocol that people point at a line-protocol port by mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// An HTTP request.
    Http,
    /// A TLS hello.
    Tls,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Greeting {
    /// Line protocol, or rubbish: the reader of lines says which.
    Lines,
    /// Something else.
    Foreign(Foreign),
    /// Too few bytes to tell: no line of them should be taken yet.
    Unknown,
}

/// The longest method, `BASELINE-CONTROL`, and some.
const METHOD_BYTES: usize = 20;
/// Requests with longer targets are taken for lines; so much is looked at anew with each read.
const TARGET_BYTES: usize = 16 << 10;

impl Greeting {
    /// What a connection's first bytes, `head`, are. Asks for the whole first line of a request, and for a few bytes of a TLS hello.
    pub fn of(head: &[u8]) -> Greeting {
        match head {
            [] => Greeting::Unknown,
            [0x16, ..] => Greeting::of_hello(head),
            [b'A'..=b'Z', ..] => Greeting::of_request(head),
            _ => Greeting::Lines,
        }
    }

    /// A handshake record of any TLS version: type 22, version 3.x, a client hello.
    fn of_hello(head: &[u8]) -> Greeting {
        match head {
            [_, 0x03, 0x00..=0x04, _, _, 0x01, ..] => Greeting::Foreign(Foreign::Tls),
            [_]
            | [_, 0x03]
            | [_, 0x03, 0x00..=0x04]
            | [_, 0x03, 0x00..=0x04, _]
            | [_, 0x03, 0x00..=0x04, _, _] => Greeting::Unknown,
            _ => Greeting::Lines,
        }
    }

    /// `METHOD target HTTP/…`
    fn of_request(head: &[u8]) -> Greeting {
        let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
        let method = head.iter().take(METHOD_BYTES + 1).take_while(|byte| is_method(byte)).count();
        match head.get(method) {
            None if method <= METHOD_BYTES => return Greeting::Unknown,
            Some(b' ') => {}
            _ => return Greeting::Lines,
        }
        let target = head.get(method + 1..).unwrap_or_default();
        let bounded = target.get(..TARGET_BYTES.min(target.len())).unwrap_or_default();
        let Some(end) = memchr2(b' ', b'\n', bounded) else {
            let is_whole = bounded.len() == target.len();
            return if is_whole { Greeting::Unknown } else { Greeting::Lines };
        };
        let version = target.get(end + 1..).unwrap_or_default();
        let agree = version.iter().zip(VERSION).take_while(|(a, b)| a == b).count();
        match target.get(end) {
            Some(b' ') if agree == VERSION.len() => Greeting::Foreign(Foreign::Http),
            Some(b' ') if agree == version.len() => Greeting::Unknown,
            _ => Greeting::Lines,
        }
    }
}

const VERSION: &[u8] = b"HTTP/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_hellos_are_recognised_however_they_are_cut() {
        let http = Greeting::Foreign(Foreign::Http);
        let tls = Greeting::Foreign(Foreign::Tls);
        for (head, expect, needs) in [
            (&b"POST /write?db=x HTTP/1.1\r\n"[..], http, 22),
            (b"PRI * HTTP/2.0\r\n\r\n", http, 11),
            (b"VERSION-CONTROL / HTTP/1.1\r\n", http, 23),
            // The length of a hello may hold a newline.
            (&[0x16, 3, 1, 10, 10, 1, 0, 1], tls, 6),
        ] {
            for cut in 0..head.len() {
                let expect = if cut < needs { Greeting::Unknown } else { expect };
                assert_eq!(Greeting::of(&head[..cut]), expect, "{head:?} up to {cut}");
            }
        }
    }

    #[test]
    fn lines_are_no_greeting_of_another_kind() {
        for line in [
            &b"GET v=1 1\n"[..],
            b"GET v=1\n",
            b"CPU,host=a v=1 1\n",
            b"m v=\"GET / HTTP/1.1\"\n",
            b"m v=1 HTTP/1",
            b"\x16\x02",
            b"\n",
        ] {
            assert_eq!(Greeting::of(line), Greeting::Lines, "{line:?}");
        }
        let long = [b"GET /", &[b'x'; TARGET_BYTES][..]].concat();
        assert_eq!(Greeting::of(&long), Greeting::Lines);
    }
}
