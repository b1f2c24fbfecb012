//! A name server that knows the names of one test.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Answers A queries (RFC 1035) for its names, with NXDOMAIN for all others. Ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    /// Where it listens, UDP.
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl NameServer {
    /// Starts it with an address for each name.
    pub fn start(names: BTreeMap<String, Ipv4Addr>) -> Self {
        Self::start_all(names.into_iter().map(|(name, address)| (name, vec![address])).collect())
    }

    /// Starts it with any number of addresses for each name.
    pub fn start_all(names: BTreeMap<String, Vec<Ipv4Addr>>) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let addr = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer)
                    && let Some(answer) = answer(&buffer[..length], &names)
                {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { addr, stop }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answer(query: &[u8], names: &BTreeMap<String, Vec<Ipv4Addr>>) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let question = query.get(12..at + 4)?;
    let is_a = question.get(question.len() - 4..question.len() - 2)? == [0, 1];
    let known = names.get(&labels.join("."));
    let found = known.filter(|_| is_a).map_or(&[][..], Vec::as_slice);
    let mut out = query.get(..2)?.to_vec();
    // A response, recursion available; 3 is NXDOMAIN.
    out.extend([
        0x85,
        if known.is_some() { 0x80 } else { 0x83 },
        0,
        1,
        0,
        u8::try_from(found.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    out.extend(question);
    for address in found {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
