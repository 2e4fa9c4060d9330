//! One helpful answer to who speaks HTTP or TLS to the line-protocol port.

use super::listener::end_with_fin;
use crate::codec::Foreign;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers and closes. `http` is where the peer may have wanted to go.
pub(super) async fn answer(
    mut stream: TcpStream,
    spoken: Foreign,
    http: SocketAddr,
) -> io::Result<()> {
    end_with_fin(&stream)?;
    match spoken {
        Foreign::Http => stream.write_all(over_http(http).as_bytes()).await?,
        Foreign::Tls => stream.write_all(TLS_ALERT).await?,
    }
    stream.shutdown().await?;
    // What the peer still sends is read and dropped: closing with unread bytes would reset the connection, and
    // the answer could be lost with it.
    let mut sink = [0; 4096];
    let drain = async {
        let mut left = DRAIN_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => break,
                Ok(n) => left = left.saturating_sub(n),
            }
        }
    };
    // A peer that does not close by itself is closed.
    drop(tokio::time::timeout(DRAIN_TIME_MAX, drain).await);
    Ok(())
}

fn over_http(http: SocketAddr) -> String {
    let body = format!(
        "This port takes line protocol over plain TCP. HTTP is at http://{http}/ (POST /write, GET /exec?query=).\n"
    );
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A fatal alert, `protocol_version`: a TLS client reports it by name instead of waiting.
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];
const DRAIN_BYTES_MAX: usize = 64 << 10;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
