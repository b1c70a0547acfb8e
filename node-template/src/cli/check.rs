//! Checks that a node can run and be reached: settings, key, certificates, access lists, ports, and
//! what its peers found who dialled it.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::cli::node_folder::{Lock, NodeFolder};
use crate::cli::place::{Place, PlaceArguments};
use crate::cli::status::lost_rows;
use crate::cli::target::Target;
use crate::cli::terminal::print;
use crate::config::{Flags, RelayMode, Settings, environment};
use crate::events::text::{self, strip_control_max};
use crate::folder::node_key::NodeKey;
use crate::node::access_watcher::AccessFiles;
use crate::pool::{self, Inspected};
use crate::protocol::wire::Status;
use crate::transport::websocket::listener;

/// A certificate that ends sooner is worth a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The last second of the year 9999, which is the latest that a certificate can name, since 1970.
const LAST: u64 = 253_402_300_799;
/// The default of HTTP_PORT is PORT plus this.
const PAGE: u16 = 4_000;
/// The most characters of a finding: a value of the settings, and a sentence that says what to do.
const FINDING: usize = 1_000;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// Odd but usable.
    Warning,
    /// The node does not start, or is not reached.
    Problem,
    /// It could not be found out.
    Skipped,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    text: String,
}

/// Findings in their order.
#[derive(Debug, Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, what: &'static str, verdict: Verdict, text: impl Into<String>) {
        self.0.push(Finding { what, verdict, text: strip_control_max(&text.into(), FINDING) });
    }

    fn is_sound(&self) -> bool {
        self.0.iter().all(|finding| finding.verdict != Verdict::Problem)
    }
}

/// Checks a node and prints what was found. Returns whether there is no problem.
///
/// # Errors
/// The output cannot be written, or the node at a URL gives no answer.
pub(crate) async fn check(place: &PlaceArguments) -> Result<bool> {
    let mut report = Report::default();
    match place.place()? {
        Place::Folder(folder) => check_folder(&folder, &mut report).await,
        Place::Api(api) => {
            let status = Target::Api(api).status().await?;
            check_status(&status, &mut report);
        }
    }
    if place.json {
        print(format!("{:#}", json!({ "checks": report.0, "ok": report.is_sound() })))?;
    } else {
        for Finding { what, verdict, text } in &report.0 {
            let word = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Problem => "PROBLEM",
                Verdict::Skipped => "skipped",
            };
            print(format!("{word:<8} {what}: {text}"))?;
        }
    }
    Ok(report.is_sound())
}

async fn check_folder(folder: &NodeFolder, report: &mut Report) {
    let flags = Flags { folder: Some(folder.path.clone()), ..Flags::default() };
    let settings = match Settings::read(&folder.path, &flags, environment) {
        Ok(settings) => settings,
        Err(error) => return report.add("settings", Verdict::Problem, error.to_string()),
    };
    let known = settings.known_peers.len();
    report.add("settings", Verdict::Ok, format!("network {}, known peers: {known}", settings.network));
    for warning in settings.exported.iter().chain(&settings.warnings) {
        report.add("settings", Verdict::Warning, warning.as_str());
    }
    if known == 0 && settings.genesis.is_none() && settings.discovery == crate::discovery::Discovery::Off {
        report.add(
            "settings",
            Verdict::Warning,
            "no known peer, no GENESIS and no DISCOVERY: the node waits to be dialled; add a peer with 'meshpool peers add'",
        );
    }
    match NodeKey::load(&folder.path) {
        Ok(Some(key)) => {
            report.add("key", Verdict::Ok, format!("node.key is that of {}", key.node_id()));
            if let Some(warning) = key.warning() {
                report.add("key", Verdict::Warning, warning);
            }
            check_access(&settings, key, report);
        }
        Ok(None) => report.add("key", Verdict::Ok, "there is no node.key; the first start makes one"),
        Err(error) => report.add("key", Verdict::Problem, error.to_string()),
    }
    let lock = match folder.lock() {
        Ok(lock) => lock,
        Err(error) => return report.add("lock", Verdict::Problem, format!("{error:#}")),
    };
    if matches!(lock, Lock::Free) {
        check_pool(folder, report);
    }
    if matches!(lock, Lock::Held(_)) {
        match running(folder).await {
            Ok(status) => {
                report.add("ports", Verdict::Ok, format!("the node runs and answers, as {}", status.address));
                check_status(&status, report);
            }
            Err(NotAsked::NoCredentials(error)) => report.add(
                "ports",
                Verdict::Problem,
                format!("the node runs, but this command has no certificate to ask it with: {error:#}"),
            ),
            Err(NotAsked::NoAnswer(error)) => {
                report.add("ports", Verdict::Problem, format!("the node runs, but does not answer: {error:#}"))
            }
        }
        return;
    }
    check_ports(&settings, report).await;
    report.add(
        "dial-back",
        Verdict::Skipped,
        format!("no node runs; start it with '{}' and check again", folder.start),
    );
}

/// Checks the file of transactions, and whether the node may write in its folder.
fn check_pool(folder: &NodeFolder, report: &mut Report) {
    match pool::inspect(&folder.path) {
        Ok(Inspected::Sound(rows)) => {
            report.add("pool", Verdict::Ok, text::plural(rows, "transaction", "transactions"))
        }
        Ok(Inspected::Missing) => {
            report.add("pool", Verdict::Ok, "there is no transactions.json; the first start makes one");
        }
        Ok(Inspected::Damaged(rows)) => report.add(
            "pool",
            Verdict::Warning,
            format!(
                "transactions.json is damaged; the next start repairs it and keeps {}",
                text::plural(rows, "transaction", "transactions")
            ),
        ),
        Err(error) => report.add("pool", Verdict::Problem, error.to_string()),
    }
}

/// Checks the access lists and, in a closed network, the certificates.
fn check_access(settings: &Settings, key: NodeKey, report: &mut Report) {
    let what = if settings.closed.is_some() { "certificates" } else { "access" };
    let files = AccessFiles::new(settings, Arc::new(key));
    match files.read() {
        Ok((access, credentials)) => {
            if let Some(warning) = files.warning(&access) {
                report.add("access", Verdict::Warning, warning);
            }
            let allowed = access.allowed.map_or("all", |_| "those of allowed.txt alone");
            report.add("access", Verdict::Ok, format!("{} denied, allowed are {allowed}", access.denied.len()));
            #[cfg(feature = "tls")]
            if let Some(credentials) = credentials {
                check_expiry(credentials.now().not_after(), report);
            }
            #[cfg(not(feature = "tls"))]
            let _none = credentials;
        }
        Err(error) => {
            let origin = error.origin(&settings.closed_origin).to_owned();
            let origin = if origin.is_empty() { origin } else { format!(" ({origin})") };
            report.add(what, Verdict::Problem, format!("{error}{origin}"));
        }
    }
}

fn check_expiry(ends: SystemTime, report: &mut Report) {
    let remedy = "issue a new one with 'cargo xtask issue-certificate'";
    match ends.duration_since(SystemTime::now()) {
        Ok(left) if left > SOON => {
            report.add("certificates", Verdict::Ok, format!("valid for {}", text::time_left(left)))
        }
        Ok(left) => {
            report.add("certificates", Verdict::Warning, format!("only valid for {}; {remedy}", text::time_left(left)));
        }
        Err(_) => report.add("certificates", Verdict::Problem, format!("expired; {remedy}")),
    }
}

async fn check_ports(settings: &Settings, report: &mut Report) {
    let mut ports = vec![("PORT", settings.host.clone(), settings.port, settings.listen_origin.clone())];
    if let Some(http) = &settings.http {
        let port = http.port.or_else(|| settings.port.checked_add(PAGE).filter(|_| settings.port != 0));
        ports.push(("HTTP_PORT", http.host.clone(), port.unwrap_or(0), http.origin.clone()));
    }
    let takes_another = settings.http.as_ref().is_some_and(|http| http.port.is_none());
    for (name, host, port, origin) in ports {
        let bound = listener::bind(&host, port).await;
        if let Ok(listeners) = &bound
            && name == "PORT"
            && cfg!(feature = "wan")
            && settings.wan.relay != RelayMode::Off
        {
            check_udp(listeners, (&host, &origin), settings.relay_is_auto, report);
        }
        match bound {
            Ok(_) if port == 0 => report.add("ports", Verdict::Ok, format!("{name} is any free one on {host}")),
            Ok(_) => report.add("ports", Verdict::Ok, format!("{name} {port} on {host} is free")),
            Err(error) if name == "HTTP_PORT" && takes_another && error.kind() == ErrorKind::AddrInUse => report.add(
                "ports",
                Verdict::Warning,
                format!("{port} on {host}, the default of the page, is in use: the node would take another port; set HTTP_PORT to choose it"),
            ),
            Err(error) => report.add(
                "ports",
                Verdict::Problem,
                format!("{name} {port} on {host} cannot be listened on ({origin}): {error}; stop the program that uses it, or set another one"),
            ),
        }
    }
}

/// Checks the UDP port of a relay, at the addresses that it listens on.
fn check_udp(listeners: &[TcpListener], (host, origin): (&str, &str), is_auto: bool, report: &mut Report) {
    for at in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
        if let Err(error) = UdpSocket::bind(at) {
            let port = at.port();
            let (verdict, relay) =
                if is_auto { (Verdict::Warning, "no relay is served") } else { (Verdict::Problem, "RELAY is on") };
            return report.add(
                "ports",
                verdict,
                format!("{relay}, and UDP port {port} on {host} cannot be used for it ({origin}): {error}; stop the program that uses it, or set another PORT"),
            );
        }
    }
    report.add("ports", Verdict::Ok, format!("its UDP port on {host}, for the relay, is free"));
}

/// Why a running node was not asked.
enum NotAsked {
    /// This command cannot show that it is the operator's.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there are no certificates without TLS"))]
    NoCredentials(anyhow::Error),
    /// The node gives no answer.
    NoAnswer(anyhow::Error),
}

async fn running(folder: &NodeFolder) -> Result<Status, NotAsked> {
    #[cfg(feature = "tls")]
    if folder.address().is_ok_and(|address| address.is_secure()) {
        folder.credentials().map_err(NotAsked::NoCredentials)?;
    }
    ask(folder).await.map_err(NotAsked::NoAnswer)
}

async fn ask(folder: &NodeFolder) -> Result<Status> {
    let mut client = folder.connect().await?;
    let status = client.status(&[]).await?;
    client.close().await;
    Ok(status)
}

/// Judges what a running node says of itself.
fn check_status(status: &Status, report: &mut Report) {
    match (status.writable, status.pool_full) {
        (false, _) => report.add(
            "pool",
            Verdict::Problem,
            "transactions.json takes no writes: free space on its disk; the node's log says why",
        ),
        (true, true) => {
            report.add("pool", Verdict::Problem, "the pool is full: raise POOL_TRANSACTIONS or POOL_BYTES");
        }
        (true, false) => {
            let count = text::plural(status.pool.count, "transaction", "transactions");
            report.add("pool", Verdict::Ok, format!("{count}, writable"));
        }
    }
    if let Some((_, missing)) = lost_rows(status) {
        let missing = text::plural(missing, "row", "rows");
        report.add(
            "pool",
            Verdict::Warning,
            format!("{missing} of the node's files were lost to another program and are not back: the node's log names the file; 'meshpool import FILE' adds them from a copy"),
        );
    }
    if let Some(expires) = status.certificate_expires {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
        match status.certificate_begins.map(at) {
            Some(begins) if SystemTime::now() < begins => {
                report.add("certificates", Verdict::Problem, "not valid yet by this machine's clock; set the clock");
            }
            _ => check_expiry(at(expires), report),
        }
    }
    let address = &status.address;
    match &status.dial_backs {
        Some(dials) if dials.reached > 0 => {
            report.add("dial-back", Verdict::Ok, format!("{} of its peers reached it at {address}", dials.reached));
        }
        Some(dials) if dials.failed > 0 && !status.paths.is_empty() => {
            let links = text::plural(status.paths.len() as u64, "link", "links");
            report.add(
                "dial-back",
                Verdict::Ok,
                format!("no peer reached it at {address}, as behind a NAT; {links} by node id, which need no address"),
            );
        }
        Some(dials) if dials.failed > 0 && status.by_id.is_some() => report.add(
            "dial-back",
            Verdict::Warning,
            format!("no peer reached it at {address}, and none is linked to it by its id yet, as an invite leads to it; check again once one is"),
        ),
        Some(dials) if dials.failed > 0 => {
            let why = dials.error.as_deref().map_or_else(String::new, |error| format!(" ({error})"));
            report.add(
                "dial-back",
                Verdict::Problem,
                format!("no peer reached it at {address}{why}: set ADDRESS to what others can dial, and let the port through firewall and router"),
            );
        }
        _ => report.add(
            "dial-back",
            Verdict::Skipped,
            format!("no peer has said yet whether it reached {address}; link it to one and check again"),
        ),
    }
    match status.connected.len() {
        0 => report.add("peers", Verdict::Warning, "no peer is linked; 'meshpool peers' shows what it tries"),
        links => report.add("peers", Verdict::Ok, format!("{links} linked")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::{DialBacks, PathRow, Summary};

    fn status() -> Status {
        Status {
            address: "ws://localhost:4001".to_owned(),
            uptime: 1,
            connected: vec!["a".to_owned()],
            pool: Summary { count: 1, sum: String::new() },
            writable: true,
            ..Status::default()
        }
    }

    fn verdict_of(what: &str, change: impl FnOnce(&mut Status)) -> Verdict {
        let (mut status, mut report) = (status(), Report::default());
        change(&mut status);
        check_status(&status, &mut report);
        report.0.iter().find(|finding| finding.what == what).expect(what).verdict
    }

    #[test]
    fn a_running_node_is_judged_by_its_status() {
        let dials = |reached, failed| Some(DialBacks { reached, failed, error: Some("refused".to_owned()) });
        assert_eq!(verdict_of("dial-back", |_| {}), Verdict::Skipped);
        assert_eq!(verdict_of("dial-back", |status| status.dial_backs = dials(1, 3)), Verdict::Ok);
        assert_eq!(verdict_of("dial-back", |status| status.dial_backs = dials(0, 1)), Verdict::Problem);
        let path = || PathRow {
            link: 1,
            peer: "a".to_owned(),
            path: "over relay 203.0.113.7:4001".to_owned(),
            round_trip_micros: 1,
        };
        let behind_nat = |paths: Vec<PathRow>| {
            verdict_of("dial-back", |status| {
                status.dial_backs = dials(0, 1);
                status.by_id = Some("iroh:a7@203.0.113.7:4001".to_owned());
                status.paths = paths;
            })
        };
        assert_eq!((behind_nat(vec![path()]), behind_nat(Vec::new())), (Verdict::Ok, Verdict::Warning));
        assert_eq!(verdict_of("pool", |_| {}), Verdict::Ok);
        assert_eq!(verdict_of("pool", |status| status.writable = false), Verdict::Problem);
        assert_eq!(verdict_of("pool", |status| status.pool_full = true), Verdict::Problem);
        let (mut lossy, mut report) = (status(), Report::default());
        lossy.counters.insert("pool_rows_lost".to_owned(), 1);
        check_status(&lossy, &mut report);
        assert!(report.0.iter().any(|found| found.what == "pool" && found.verdict == Verdict::Warning), "{report:?}");
        assert_eq!(verdict_of("peers", |status| status.connected.clear()), Verdict::Warning);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        for (left, verdict) in [(-1, Verdict::Problem), (86_400, Verdict::Warning), (86_400 * 40, Verdict::Ok)] {
            let expires = now.checked_add_signed(left);
            assert_eq!(verdict_of("certificates", |status| status.certificate_expires = expires), verdict);
        }
        let of_another = |status: &mut Status| {
            (status.certificate_begins, status.certificate_expires) = (Some(u64::MAX), Some(u64::MAX));
        };
        assert_eq!(verdict_of("certificates", of_another), Verdict::Problem, "no time of a certificate");
        for (since, verdict) in [(-1, Verdict::Ok), (60, Verdict::Problem)] {
            let change = |status: &mut Status| {
                status.certificate_begins = now.checked_add_signed(since);
                status.certificate_expires = Some(now + 86_400 * 40);
            };
            assert_eq!(verdict_of("certificates", change), verdict);
        }
    }

    async fn checked(folder: &std::path::Path) -> Report {
        let mut report = Report::default();
        check_folder(&NodeFolder::at(folder), &mut report).await;
        report
    }

    #[tokio::test]
    async fn a_folder_is_judged_by_its_files_and_ports() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        let report = checked(folder.path()).await;
        assert!(!report.is_sound() && report.0[0].text.contains("PORT is not set"), "{report:?}");
        write("known-peers.json", "[\"ws://localhost:9\"]");
        write(".env", "PORT=0\nHTTP_PORT=0\n");
        let report = checked(folder.path()).await;
        assert!(report.is_sound() && report.0.last().expect("one").verdict == Verdict::Skipped, "{report:?}");
        for (pool, verdict) in [
            ("{}", Verdict::Problem),
            ("[1]", Verdict::Problem),
            ("[{\"a\":1},{\"b\"", Verdict::Warning),
            ("[{\"a\":1}]", Verdict::Ok),
        ] {
            write("transactions.json", pool);
            let report = checked(folder.path()).await;
            assert!(report.0.iter().any(|found| found.what == "pool" && found.verdict == verdict), "{pool} {report:?}");
            assert_eq!(std::fs::read_to_string(folder.path().join("transactions.json")).expect("read"), pool);
        }
        std::fs::create_dir(folder.path().join("node.lock")).expect("made");
        assert!(!checked(folder.path()).await.is_sound());
        std::fs::remove_dir(folder.path().join("node.lock")).expect("removed");
        NodeKey::load_or_create(folder.path()).expect("a key");
        write("denied.txt", "nobody");
        let report = checked(folder.path()).await;
        assert!(report.0.iter().any(|found| found.what == "access" && found.verdict == Verdict::Problem), "{report:?}");
        write("denied.txt", "192.0.2.0/24");
        write("allowed.txt", "# nobody yet\n");
        let report = checked(folder.path()).await;
        let warns =
            |found: &Finding| found.verdict == Verdict::Warning && found.text.contains("allowed.txt has no rule");
        assert!(report.0.iter().any(warns), "{report:?}");
        std::fs::remove_file(folder.path().join("allowed.txt")).expect("removed");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("bound").port();
        write(".env", &format!("PORT={port}\nHOST=127.0.0.1\nHTTP_PORT=0\n"));
        let report = checked(folder.path()).await;
        assert!(report.0.iter().any(|found| found.what == "access" && found.verdict == Verdict::Ok), "{report:?}");
        assert!(report.0.iter().any(|found| found.what == "ports" && found.verdict == Verdict::Problem), "{report:?}");
        let of_page = async |env: &str| {
            write(".env", &format!("HOST=127.0.0.1\nHTTP_HOST=127.0.0.1\n{env}\n"));
            let found = checked(folder.path()).await.0.into_iter();
            found.filter(|found| found.text.contains(&port.to_string())).map(|found| found.verdict).collect::<Vec<_>>()
        };
        assert_eq!(of_page(&format!("PORT={}", port - 4_000)).await, [Verdict::Warning], "it takes another port");
        assert_eq!(of_page(&format!("PORT=0\nHTTP_PORT={port}")).await, [Verdict::Problem]);
        write("node.key", "no key");
        let report = checked(folder.path()).await;
        assert!(report.0.iter().any(|found| found.what == "key" && found.verdict == Verdict::Problem), "{report:?}");
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn a_command_without_a_certificate_does_not_say_that_the_node_is_silent() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("known-peers.json", "[]");
        write(".env", "PORT=0\nHTTP_PORT=0\nNETWORK_CA=ca.pem\n");
        NodeKey::load_or_create(folder.path()).expect("a key");
        write("node.lock", "");
        let _held = crate::system::try_lock(&folder.path().join("node.lock")).expect("free");
        write("node.lock", &format!("{}\nwss://localhost:9\n", std::process::id()));
        let report = checked(folder.path()).await;
        let ports = report.0.iter().find(|found| found.what == "ports").expect("ports");
        assert!(ports.verdict == Verdict::Problem && ports.text.contains("ca.pem"), "{report:?}");
        assert!(
            ports.text.contains("has no certificate to ask it") && !ports.text.contains("does not answer"),
            "{report:?}"
        );
    }

    #[tokio::test]
    async fn a_folder_whose_node_is_a_relay_has_its_udp_port_looked_at_and_who_reaches_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("known-peers.json", "[]");
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let env =
            |relay: &str| format!("PORT={port}\nHOST=127.0.0.1\nHTTP_PORT=0\nADDRESS=ws://203.0.113.7:{port}\n{relay}");
        let of = |report: &Report, what: &str, part: &str| {
            let found = report.0.iter().find(|found| found.what == what && found.text.contains(part));
            found.map(|found| (found.verdict, found.text.clone()))
        };
        for (relay, expected) in [("RELAY=on", Verdict::Problem), ("RELAY=auto", Verdict::Warning)] {
            write(".env", &env(relay));
            let report = checked(folder.path()).await;
            let (verdict, text) = of(&report, "ports", "UDP").expect("it is looked at");
            assert!(verdict == expected && text.contains(&port.to_string()), "{report:?}");
            let (verdict, text) = of(&report, "settings", "HOST is 127.0.0.1").expect("nobody reaches it");
            assert!(verdict == Verdict::Warning && text.contains("TRUSTED_PROXIES"), "not cut: {text}");
        }
        write(".env", &env(""));
        assert_eq!(of(&checked(folder.path()).await, "ports", "UDP"), None, "it needs none");
        drop(taken);
        write(".env", &env("RELAY=on"));
        let free = checked(folder.path()).await;
        assert_eq!(of(&free, "ports", "UDP").map(|(verdict, _)| verdict), Some(Verdict::Ok), "{free:?}");
    }
}
