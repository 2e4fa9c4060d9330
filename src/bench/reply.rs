//! The server's answers to `# ack TOKEN`.
//!
//! ```text
//! ok TOKEN lines=N rejected=M [first=LINE:REASON]
//! err TOKEN REASON
//! ```

/// One answer. `N` and `M` count from the answer before it; the line number counts from the connection's start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reply<'a> {
    Ok { token: &'a str, lines: u64, rejected: u64, first: Option<Rejection<'a>> },
    Err { token: &'a str, reason: &'a str },
}

/// The first line refused since the answer before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rejection<'a> {
    pub(super) line: u64,
    pub(super) reason: &'a str,
}

impl<'a> Reply<'a> {
    /// Reads an answer without its newline; `None` if it is not one.
    pub(super) fn parse(text: &'a str) -> Option<Reply<'a>> {
        let (verdict, rest) = text.split_once(' ')?;
        let (token, rest) = rest.split_once(' ')?;
        match verdict {
            "ok" => {
                let mut words = rest.split(' ');
                let lines = words.next()?.strip_prefix("lines=")?.parse().ok()?;
                let rejected = words.next()?.strip_prefix("rejected=")?.parse().ok()?;
                let first = match words.next() {
                    Some(word) => {
                        let (line, reason) = word.strip_prefix("first=")?.split_once(':')?;
                        Some(Rejection { line: line.parse().ok()?, reason })
                    }
                    None => None,
                };
                words.next().is_none().then_some(Reply::Ok { token, lines, rejected, first })
            }
            "err" => Some(Reply::Err { token, reason: rest }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ok_counts_committed_and_refused_lines() {
        assert_eq!(
            Reply::parse("ok 17 lines=10000 rejected=0"),
            Some(Reply::Ok { token: "17", lines: 10_000, rejected: 0, first: None })
        );
        assert_eq!(
            Reply::parse("ok a.b:c lines=9 rejected=1 first=4:type_conflict"),
            Some(Reply::Ok {
                token: "a.b:c",
                lines: 9,
                rejected: 1,
                first: Some(Rejection { line: 4, reason: "type_conflict" }),
            })
        );
    }

    #[test]
    fn an_err_keeps_its_whole_reason() {
        assert_eq!(
            Reply::parse("err 3 the disk is full"),
            Some(Reply::Err { token: "3", reason: "the disk is full" })
        );
    }

    #[test]
    fn anything_else_is_no_reply() {
        let check = |text| assert_eq!(Reply::parse(text), None, "{text}");
        check("");
        check("ok");
        check("ok 1");
        check("ok 1 lines=1");
        check("ok 1 lines=x rejected=0");
        check("ok 1 lines=1 rejected=1 first=type_conflict");
        check("ok 1 lines=1 rejected=1 first=1:a more");
        check("ok 1 lines=-1 rejected=0");
        check("fine 1 lines=1 rejected=0");
    }
}
