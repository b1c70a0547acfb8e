//! One attack, in a process of its own whose CPU time is counted.
//!
//! It is as cheap as an attacker can make it: blocking sockets, large writes, and the same bytes
//! again and again unless the attack needs new ones.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::measures::hostile::attacks::{Attack, Frames, Make, Port, Way};
use crate::measures::hostile::maker::{Maker, Role};
use crate::measures::hostile::{discovery_client, relay_client};
use crate::support::testbed::node::PORT;

/// The port of the page.
pub(crate) const HTTP_PORT: u16 = 8_000;
/// How many bytes are written at once.
const BATCH: usize = 64 * 1024;
/// The longest wait for one read or write.
const STEP: Duration = Duration::from_millis(200);
/// The pause after a connection that was refused, or that the node closed.
const PAUSE: Duration = Duration::from_millis(1);
/// The most connections that are held.
const HELD: usize = 1_000;

/// What the attacker did, and what it cost.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Effort {
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
    /// How many connections it held at the end, of the attack that counts them.
    pub(crate) held: u64,
    /// CPU time, in seconds.
    pub(crate) cpu: f64,
}

/// Attacks the node at `to` for a time.
pub(crate) fn attack(attack: &Attack, to: Ipv4Addr, time: Duration) -> Result<Effort> {
    let counts = Counts::default();
    let until = Instant::now() + time;
    let before = cpu_time();
    let mut held = 0;
    match attack.way {
        Way::Frames(frames) => thread::scope(|scope| -> Result<()> {
            for number in 0..frames.links {
                let mut maker = Maker::new(to, number as u64)?;
                let counts = &counts;
                scope.spawn(move || {
                    while Instant::now() < until {
                        // The node may refuse, or close the link: then the next one is opened.
                        flood(&frames, &mut maker, to, until, counts).unwrap_or_default();
                        thread::sleep(PAUSE);
                    }
                });
            }
            Ok(())
        })?,
        Way::Connections { port, bytes, waits } => {
            let mut maker = Maker::new(to, 0)?;
            let mut out = Vec::new();
            while Instant::now() < until {
                out.clear();
                bytes(&mut maker, &mut out);
                if connect_once(to, port, &out, waits, &counts).is_err() {
                    thread::sleep(PAUSE);
                }
            }
        }
        Way::Holds { port, bytes } => hold(to, port, bytes, until, &counts)?,
        Way::RelayClients { held: others, bytes } => become_clients(to, others, bytes, until, &counts)?,
        Way::DiscoveryHolds => {
            held = discovery_client::hold((to, PORT).into(), until, || {
                counts.connections.fetch_add(1, Ordering::Relaxed);
            })?;
        }
        Way::DiscoveryBegins => discovery_client::begin((to, PORT).into(), until, |bytes| {
            counts.connections.fetch_add(1, Ordering::Relaxed);
            counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        })?,
    }
    Ok(Effort {
        connections: counts.connections.into_inner(),
        bytes: counts.bytes.into_inner(),
        held,
        cpu: cpu_time().saturating_sub(before).as_secs_f64(),
    })
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    bytes: AtomicU64,
}

/// To the nanosecond: `/proc/PID/stat` counts ticks of 10 ms, and would miss half of what an
/// attacker spends that only writes now and then.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn connect(to: Ipv4Addr, port: Port, counts: &Counts) -> Result<TcpStream> {
    let port = if port == Port::Peers { PORT } else { HTTP_PORT };
    let stream = TcpStream::connect_timeout(&SocketAddr::from((to, port)), STEP)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    counts.connections.fetch_add(1, Ordering::Relaxed);
    Ok(stream)
}

fn connect_once(to: Ipv4Addr, port: Port, bytes: &[u8], waits: bool, counts: &Counts) -> Result<()> {
    let mut stream = connect(to, port, counts)?;
    stream.write_all(bytes)?;
    counts.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    let mut answer = [0; 4096];
    while waits && stream.read(&mut answer)? > 0 {}
    Ok(())
}

fn hold(to: Ipv4Addr, port: Port, bytes: Make, until: Instant, counts: &Counts) -> Result<()> {
    let mut maker = Maker::new(to, 0)?;
    let mut held = Vec::new();
    let mut out = Vec::new();
    bytes(&mut maker, &mut out);
    while Instant::now() < until {
        if held.len() >= HELD {
            thread::sleep(STEP);
        } else if let Ok(mut stream) = connect(to, port, counts)
            && stream.write_all(&out).is_ok()
        {
            held.push(stream);
        } else {
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Becomes a client of the relay, writes bytes and leaves, again and again, beside `held` clients
/// that stay.
fn become_clients(to: Ipv4Addr, held: u64, bytes: Make, until: Instant, counts: &Counts) -> Result<()> {
    let open = |maker: &mut Maker| open(Role::RelayClient, maker, to, until, counts);
    let held: Vec<_> = (0..held).map(|number| open(&mut Maker::new(to, number)?)).collect::<Result<_>>()?;
    let mut maker = Maker::new(to, held.len() as u64)?;
    let mut out = Vec::new();
    bytes(&mut maker, &mut out);
    while Instant::now() < until {
        // Without a place its attempt costs the relay as much.
        let Ok(mut stream) = open(&mut maker) else { continue };
        if !out.is_empty() && stream.write_all(&out).is_ok() {
            counts.bytes.fetch_add(out.len() as u64, Ordering::Relaxed);
            // Closed at once, the connection would be reset, and the bytes never read.
            stream.shutdown(Shutdown::Write)?;
            let mut answer = [0; 4096];
            while stream.read(&mut answer).is_ok_and(|read| read > 0) {}
        }
    }
    Ok(())
}

/// Opens a link and writes frames on it until the time is over or the node closes it.
fn flood(frames: &Frames, maker: &mut Maker, to: Ipv4Addr, until: Instant, counts: &Counts) -> Result<()> {
    let mut stream = open(frames.role, maker, to, until, counts)?;
    let mut reader = stream.try_clone()?;
    let reading = frames.reads.then(|| {
        thread::spawn(move || {
            let mut bytes = vec![0; BATCH];
            loop {
                match reader.read(&mut bytes) {
                    Ok(0) => return,
                    Err(error) if !is_timeout(error.kind()) => return,
                    _ => {}
                }
            }
        })
    });
    let mut batch = Vec::new();
    let mut writing = || -> Result<()> {
        while Instant::now() < until {
            if batch.is_empty() || frames.fresh {
                batch.clear();
                while batch.len() < BATCH {
                    (frames.make)(maker, &mut batch);
                }
            }
            write(&mut stream, &batch, until)?;
            counts.bytes.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    let written = writing();
    // It ends the reader.
    stream.shutdown(Shutdown::Both).unwrap_or_default();
    if let Some(reading) = reading {
        reading.join().unwrap_or_default();
    }
    written
}

/// Upgrades, and introduces itself.
fn open(role: Role, maker: &mut Maker, to: Ipv4Addr, until: Instant, counts: &Counts) -> Result<TcpStream> {
    let mut stream = connect(to, Port::Peers, counts)?;
    let mut out = Vec::new();
    if role == Role::RelayClient {
        maker.upgrade_with(&mut out, relay_client::HEADER);
        stream.write_all(&out)?;
        relay_client::prove(&mut stream, maker.number)?;
        return Ok(stream);
    }
    maker.upgrade(&mut out);
    stream.write_all(&out)?;
    read_until(&mut stream, b"\r\n\r\n", until)?;
    if role != Role::Client {
        out.clear();
        let handshake = maker.handshake(role, &[]);
        maker.text(&mut out, &handshake);
        stream.write_all(&out)?;
    }
    if role == Role::Native {
        // Before its answer most messages would be refused for that reason alone.
        read_until(&mut stream, b"HANDSHAKE", until)?;
    }
    Ok(stream)
}

fn read_until(stream: &mut TcpStream, mark: &[u8], until: Instant) -> Result<()> {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(mark) {
        match stream.read(&mut byte) {
            Ok(0) => anyhow::bail!("the node closed the connection"),
            Ok(_) => read.push(byte[0]),
            Err(error) if is_timeout(error.kind()) && Instant::now() < until => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes all bytes, for as long as the time lasts.
fn write(stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> Result<()> {
    while !bytes.is_empty() && Instant::now() < until {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_timeout(error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
