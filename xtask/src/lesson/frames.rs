//! The frames that travel between the nodes of the lesson, as their own records have them
//! (`/api/links/{id}/frames`).
//!
//! A record begins with the first request for it and ends soon after the last one, so one task asks
//! all nodes again and again. Both ends of a link record a frame: shown is what the receiver has,
//! with what it did about the frame, and what the sender has where the receiver keeps no record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshpool::binary::Api;
use serde::Deserialize;

use crate::lesson::screen::WIDTH;
use crate::support::workspace::{Folder, Holder};

/// The interval of the requests. The list of links is up to a second old.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longer texts without a blank, such as keys and signatures, are shortened to their beginning.
const LONG: usize = 20;
const SHORT: usize = 8;
/// How many lines the text of one frame has at most.
const LINES: usize = 3;
/// How many addresses of a HANDSHAKE are shown.
const ADDRESSES: usize = 4;

#[derive(Debug, Clone, Deserialize)]
struct Link {
    id: u64,
    kind: String,
    address: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Links {
    links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Extract {
    frames: Vec<Frame>,
    last: u64,
    ended: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Frame {
    /// Milliseconds since 1970.
    time: f64,
    direction: String,
    r#type: Option<String>,
    bytes: usize,
    text: String,
    cut: bool,
    note: Option<String>,
    addresses: Vec<Named>,
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    address: String,
    text: String,
}

/// A link of one run of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LinkKey {
    node: u32,
    process: u32,
    link: u64,
}

#[derive(Debug)]
struct Watched {
    link: Link,
    last: u64,
    has_ended: bool,
}

#[derive(Debug, Default)]
struct Record {
    links: BTreeMap<LinkKey, Watched>,
    frames: Vec<(LinkKey, Frame)>,
}

/// A frame, for people.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Travelled {
    /// Milliseconds since 1970.
    pub(crate) time: f64,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) kind: String,
    bytes: usize,
    text: String,
    /// What the receiver did.
    remarks: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Frames {
    record: Arc<Mutex<Record>>,
    /// The port of node 1, less 1.
    base: u16,
}

impl Frames {
    pub(crate) fn new(base: u16) -> Self {
        Self { record: Arc::default(), base }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the nodes of these folders, without end.
    pub(crate) async fn watch(self, folders: Vec<Folder>) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut apis = BTreeMap::new();
        loop {
            interval.tick().await;
            for folder in &folders {
                let Some(Holder { pid, page: Some(page), .. }) = folder.holder() else { continue };
                let api = match apis.entry(pid) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => match Api::new(&page, None) {
                        Ok(api) => entry.insert(api),
                        Err(_) => continue,
                    },
                };
                // A node that is just starting or ending gives no answer, and is asked again.
                self.ask(folder.number, pid, api).await.unwrap_or_default();
            }
        }
    }

    async fn ask(&self, node: u32, process: u32, api: &mut Api) -> anyhow::Result<()> {
        let Links { links } = api.get("/api/links").await?;
        let mut due: BTreeMap<LinkKey, u64> = BTreeMap::new();
        {
            let record = self.lock();
            let of_node = record
                .links
                .iter()
                .filter(|(key, watched)| key.node == node && key.process == process && !watched.has_ended);
            due.extend(of_node.map(|(key, watched)| (*key, watched.last)));
        }
        for link in &links {
            due.entry(LinkKey { node, process, link: link.id }).or_insert(0);
        }
        for (key, last) in due {
            let answer = api.get::<Extract>(&format!("/api/links/{}/frames?after={last}", key.link)).await;
            let mut record = self.lock();
            let link = links.iter().find(|link| link.id == key.link);
            let Ok(extract) = answer else {
                // The link ended before it was watched, or long ago.
                record.links.entry(key).and_modify(|watched| watched.has_ended = true);
                continue;
            };
            match (record.links.get_mut(&key), link) {
                (Some(watched), _) => {
                    watched.last = extract.last;
                    watched.has_ended = extract.ended.is_some();
                    // The address is known later than the link.
                    if let Some(link) = link {
                        watched.link = link.clone();
                    }
                }
                (None, Some(link)) => {
                    let link = link.clone();
                    record.links.insert(key, Watched { link, last: extract.last, has_ended: extract.ended.is_some() });
                }
                (None, None) => continue,
            }
            record.frames.extend(extract.frames.into_iter().map(|frame| (key, frame)));
        }
        Ok(())
    }

    /// Returns how many links of clients to a node have been watched so far.
    pub(crate) fn clients_of(&self, node: u32) -> usize {
        self.lock().links.iter().filter(|(key, watched)| key.node == node && watched.link.kind == "client").count()
    }

    /// Returns the messages that travelled since a time, in milliseconds since 1970.
    pub(crate) fn since(&self, time: f64) -> Vec<Travelled> {
        let record = self.lock();
        let mut travelled: Vec<Travelled> = record
            .frames
            .iter()
            .filter(|(_, frame)| frame.time >= time)
            .filter_map(|(key, frame)| {
                let watched = record.links.get(key)?;
                self.travelled(*key, &watched.link, frame)
            })
            .collect();
        travelled.sort_by(|one, other| one.time.total_cmp(&other.time));
        travelled
    }

    fn travelled(&self, key: LinkKey, link: &Link, frame: &Frame) -> Option<Travelled> {
        let kind = frame.r#type.clone()?;
        let is_received = frame.direction == "received";
        if !is_received && link.kind == "native" {
            return None;
        }
        let (own, other) = (format!("node-{}", key.node), self.name(link));
        let (from, to) = if is_received { (other, own) } else { (own, other) };
        let mut remarks: Vec<String> = frame.note.iter().map(|note| format!("{to}: {note}")).collect();
        if is_received {
            let named = frame.addresses.iter().take(ADDRESSES);
            remarks.extend(named.map(|named| format!("{to}: {} {}", named.address, named.text)));
        }
        let text = shortened(&frame.text) + if frame.cut { "…" } else { "" };
        Some(Travelled { time: frame.time, from, to, kind, bytes: frame.bytes, text, remarks })
    }

    fn name(&self, link: &Link) -> String {
        let port = link.address.as_deref().and_then(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
        match port.and_then(|port| port.checked_sub(self.base)) {
            Some(number) => format!("node-{number}"),
            None if link.kind == "client" => "client".to_owned(),
            None => "a node".to_owned(),
        }
    }
}

impl Travelled {
    /// Returns the lines that show it. `first`: the time of the first frame.
    pub(crate) fn lines(&self, first: f64) -> Vec<String> {
        let Self { time, from, to, bytes, text, remarks, .. } = self;
        let head = format!("{:7.1} ms  {from} → {to}  {bytes} bytes  ", time - first);
        let indent = " ".repeat(12);
        let mut rest: Vec<char> = text.chars().collect();
        let mut lines = Vec::new();
        let mut line = head;
        while lines.len() < LINES {
            let room = WIDTH.saturating_sub(line.chars().count());
            let part: String = rest.drain(..break_at(&rest, room)).collect();
            lines.push(line + &part);
            line = indent.clone();
            if rest.is_empty() {
                break;
            }
        }
        if let Some(last) = lines.last_mut().filter(|_| !rest.is_empty()) {
            last.pop();
            last.push('…');
        }
        lines.extend(remarks.iter().map(|remark| format!("{indent}{remark}")));
        lines
    }
}

/// Returns how many characters of a text go into a line: all, or up to the last comma.
fn break_at(text: &[char], room: usize) -> usize {
    if text.len() <= room {
        return text.len();
    }
    let comma = text[..room].iter().rposition(|character| *character == ',');
    comma.map_or(room, |place| place + 1)
}

/// Returns a JSON text in which long strings without a blank are cut, except addresses. The text
/// may end anywhere.
fn shortened(json: &str) -> String {
    let mut short = String::with_capacity(json.len());
    for (number, part) in json.split('"').enumerate() {
        if number > 0 {
            short.push('"');
        }
        let is_string = number % 2 == 1;
        if is_string && part.len() > LONG && !part.contains(' ') && !part.contains("://") {
            short.extend(part.chars().take(SHORT).chain(['…']));
        } else {
            short.push_str(part);
        }
    }
    meshpool::binary::terminal::strip_control(&short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(direction: &str, kind: Option<&str>, text: &str) -> Frame {
        Frame {
            time: 5.0,
            direction: direction.to_owned(),
            r#type: kind.map(str::to_owned),
            bytes: text.len(),
            text: text.to_owned(),
            cut: false,
            note: None,
            addresses: vec![Named { address: "ws://localhost:4003".into(), text: "is dialled".into() }],
        }
    }

    #[test]
    fn each_frame_is_shown_once_by_its_receiver() {
        let frames = Frames::new(4_000);
        let key = LinkKey { node: 1, process: 7, link: 3 };
        let link = |kind: &str, port: Option<u16>| Link {
            id: 3,
            kind: kind.to_owned(),
            address: port.map(|port| format!("ws://localhost:{port}")),
        };
        let ends = |kind: &str, port, direction: &str, of: Option<&str>| {
            let shown = frames.travelled(key, &link(kind, port), &frame(direction, of, "{}"))?;
            Some((shown.from, shown.to, shown.remarks.len()))
        };
        let (sync, node) = (Some("SYNC"), |number: u32| format!("node-{number}"));
        assert_eq!(ends("native", Some(4_002), "received", sync), Some((node(2), node(1), 1)));
        assert_eq!(ends("native", Some(4_002), "sent", sync), None, "the other end shows it");
        assert_eq!(ends("exercise", Some(4_006), "sent", sync), Some((node(1), node(6), 0)));
        assert_eq!(ends("client", None, "sent", sync), Some((node(1), "client".to_owned(), 0)));
        assert_eq!(ends("native", Some(4_002), "received", None), None, "a ping is no message");
    }

    #[test]
    fn what_is_long_is_cut() {
        let id = "ab".repeat(32);
        let json = format!(
            r#"{{"type":"WANT","data":["{id}"],"at":"ws://localhost:40010000","a":"in plain words it stays"}}"#
        );
        let short =
            r#"{"type":"WANT","data":["abababab…"],"at":"ws://localhost:40010000","a":"in plain words it stays"}"#;
        assert_eq!(shortened(&json), short);
        assert_eq!(shortened(r#"{"a":"bc"#), r#"{"a":"bc"#);
        let text = (0..200).map(|number| format!("{number},")).collect::<String>();
        let shown = Travelled {
            time: 12.0,
            from: "node-1".into(),
            to: "node-2".into(),
            kind: "SYNC".into(),
            bytes: text.len(),
            text,
            remarks: vec!["node-2: a copy".into()],
        };
        let lines = shown.lines(10.0);
        assert_eq!(lines.len(), LINES + 1);
        assert!(lines[0].starts_with("    2.0 ms  node-1 → node-2  690 bytes  0,1,2,"), "{}", lines[0]);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines[LINES - 1].ends_with('…') && lines[LINES].ends_with("node-2: a copy"), "{lines:?}");
    }
}
