//! The rules of messages as tables for people: `docs/protocol.md` has them, word for word.

use std::time::Duration;

use crate::limits::{self, Limits};
use crate::message_rules::{Above, MessageKind, Others, Rate, Rule, Senders, Table};
use crate::violation::ViolationKind;

/// All tables, in the order of the documents.
const TABLES: [Table; 8] = [
    Table::AddressBook,
    Table::Pool,
    Table::Trees,
    Table::Broadcasts,
    Table::Nodes,
    Table::Searches,
    Table::ExercisePeers,
    Table::DialBacks,
];

/// Returns a table in Markdown with a row for each kind of message.
pub(super) fn messages() -> String {
    let rows = MessageKind::ALL.iter().map(|kind| {
        let Rule { senders, others, rate, bytes, entries, fills } = *kind.rule();
        let entries = entries.map_or("–".into(), |(most, what)| format!("{} {what}", number(most)));
        let fills: Vec<&str> = fills.iter().map(|table| name(*table)).collect();
        let fills = if fills.is_empty() { "–".into() } else { fills.join(", ") };
        let [from, refused] = [describe_senders(senders).to_owned(), describe_others(senders, others)];
        let above = describe_above(rate, others);
        [title(*kind).into(), from, refused, describe_rate(rate), size(bytes), entries, fills, above]
    });
    let head =
        ["message", "from", "from others", "rate on one link", "longest", "read of it", "adds to", "above the rate"];
    table(head, rows)
}

/// Returns a table in Markdown with a row for each table that messages add to.
pub(super) fn tables() -> String {
    let rows = TABLES.iter().map(|table| {
        let fillers = MessageKind::ALL.iter().filter(|kind| kind.rule().fills.contains(table));
        let fillers: Vec<&str> = fillers.map(|kind| title(*kind)).collect();
        [name(*table).to_owned(), fillers.join(", "), bound(*table), gives_way(*table).to_owned()]
    });
    table(["table", "filled by", "bound", "when it is full"], rows)
}

/// Returns a table in Markdown with the rates at which a node reads all links of one address group
/// beyond loopback.
pub(super) fn reading() -> String {
    let Limits { transaction_rate, transaction_burst, inbound_per_ip, .. } = Limits::default();
    let rate = |rate: u32, burst: u32| format!("{} at once, then {}/s", number(burst as usize), number(rate as usize));
    let bytes = |rate: usize, burst: usize| format!("{} at once, then {}/s", size(burst), size(rate));
    let times = limits::LINK_TIMES;
    let frame_bytes = limits::FRAME_BYTES as usize;
    let frames = format!(
        "{}; {}",
        rate(limits::FRAMES, limits::FRAMES_BURST),
        bytes(frame_bytes, frame_bytes * (limits::FRAMES_BURST / limits::FRAMES) as usize),
    );
    let payload = |times: u32, part: u32| {
        let burst = (transaction_burst / limits::BURST_BYTES_PART) as usize * limits::UNIT_BYTES;
        let per_second = (transaction_rate * times) as usize * limits::UNIT_BYTES;
        format!("{}; {}", rate(transaction_rate * times, transaction_burst / part), bytes(per_second, burst))
    };
    let pauses = || "reading pauses".to_owned();
    let own = "TRANSACTION and BROADCAST of one origin, or of the clients and exercise peers";
    let rows = [
        [own.to_owned(), payload(1, 1), pauses()],
        ["TRANSACTION and BROADCAST of all native peers".to_owned(), payload(times, limits::LINK_BURST_PART), pauses()],
        [
            format!(
                "all other messages; an address in HANDSHAKE counts as one; a ping, pong or fragment counts {}",
                size(limits::UNIT_BYTES)
            ),
            frames,
            pauses(),
        ],
        [
            "transactions that it is sent of pools".to_owned(),
            bytes(limits::SERVED_PER_SECOND as usize, limits::SERVED_AT_ONCE as usize),
            "sending pauses".to_owned(),
        ],
        ["accepted links".to_owned(), number(inbound_per_ip), "DECLINED to a native peer, close 1013".to_owned()],
    ];
    table(["of one address group", "most", "above it"], rows)
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

fn title(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Handshake => "HANDSHAKE",
        MessageKind::Transaction => "TRANSACTION",
        MessageKind::Ack => "ACK",
        MessageKind::Sync => "SYNC, except answers",
        MessageKind::SyncAnswer => "SYNC, `answer`",
        MessageKind::Want => "WANT",
        MessageKind::Prune => "PRUNE",
        MessageKind::Graft => "GRAFT, with origins",
        MessageKind::GraftAll => "GRAFT of all origins",
        MessageKind::Broadcast => "BROADCAST",
        MessageKind::Announce => "ANNOUNCE of others, or unproved",
        MessageKind::AnnounceOwn => "ANNOUNCE of the proved sender",
        MessageKind::Status => "STATUS, question",
        MessageKind::StatusAnswer => "STATUS, answer",
        MessageKind::Network => "NETWORK, question",
        MessageKind::NetworkAnswer => "NETWORK, answer",
        MessageKind::Join => "JOIN",
        MessageKind::Peers => "PEERS",
        MessageKind::Declined => "DECLINED",
        MessageKind::Beacon => "BEACON",
        MessageKind::Find => "FIND",
        MessageKind::Found => "FOUND",
        MessageKind::DialBack => "DIALBACK",
        MessageKind::CallBack => "CALLBACK",
        MessageKind::Exercise => "EXERCISE",
        MessageKind::Topic => "TOPIC",
        MessageKind::Unknown => "unknown type",
    }
}

fn describe_senders(senders: Senders) -> &'static str {
    match senders {
        Senders::NONE => "nobody",
        Senders::ALL => "all",
        Senders::NATIVE => "native peers",
        Senders::INTRODUCED => "native peers after their HANDSHAKE",
        Senders::ESTABLISHED => "established links",
        Senders::LOCAL => "this host",
        _ if senders == Senders::NATIVE | Senders::CLIENT => "native peers, clients",
        _ if senders == Senders::INTRODUCED | Senders::WAITING => {
            "native peers after their HANDSHAKE, also without a slot"
        }
        _ if senders == Senders::ALL.without(Senders::PENDING) => "all but peers without a slot",
        _ => "",
    }
}

fn describe_others(senders: Senders, others: Others) -> String {
    match others {
        _ if senders == Senders::ALL => "–".into(),
        Others::Ignored => "ignored".into(),
        // Below the table it says what is ignored from a node that was asked for addresses.
        Others::Violation { ignored: Senders::NONE | Senders::ASKED, kind, .. } => describe_kind(kind).into(),
        Others::Violation { kind, .. } => format!("{}; without a slot ignored", describe_kind(kind)),
    }
}

fn describe_kind(kind: ViolationKind) -> &'static str {
    match kind {
        ViolationKind::Malformed => "Malformed",
        ViolationKind::Contradiction => "Contradiction",
        ViolationKind::Breach => "Breach",
        ViolationKind::FalseAddress => "FalseAddress",
        ViolationKind::Unsolicited => "Unsolicited",
    }
}

fn describe_rate(rate: Rate) -> String {
    match rate {
        Rate::Transactions | Rate::Messages => "below".into(),
        Rate::PerQuestion => "one for each question".into(),
        Rate::Once => "one".into(),
        Rate::Link { burst, interval, .. } => {
            let per_second = Duration::from_secs(1).as_millis() / interval.as_millis().max(1);
            format!("{} at once, then {per_second}/s", number(burst as usize))
        }
    }
}

fn describe_above(rate: Rate, others: Others) -> String {
    match (rate, others) {
        (Rate::Transactions | Rate::Messages, _) => "reading pauses".into(),
        (Rate::PerQuestion, Others::Violation { kind, .. }) => describe_kind(kind).into(),
        (Rate::PerQuestion, Others::Ignored) => "ignored".into(),
        (Rate::Once, _) => "the link is closed".into(),
        (Rate::Link { above, .. }, _) => match above {
            Above::Pause => "reading pauses".into(),
            Above::Drop => "dropped".into(),
        },
    }
}

fn name(table: Table) -> &'static str {
    match table {
        Table::AddressBook => "address book",
        Table::Pool => "pool",
        Table::Trees => "trees",
        Table::Broadcasts => "broadcasts kept",
        Table::Nodes => "nodes remembered",
        Table::Searches => "searches remembered",
        Table::ExercisePeers => "exercise peers",
        Table::DialBacks => "results of dialling us",
    }
}

fn bound(table: Table) -> String {
    let Limits { peer_table, pool_transactions, pool_bytes, presence_nodes, .. } = Limits::default();
    let pool = [pool_transactions, pool_bytes].map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    match table {
        Table::AddressBook => format!("{} learned addresses", number(peer_table)),
        Table::Pool => format!("{} transactions; {}", number(pool[0]), size(pool[1])),
        Table::Trees => format!("{} origins", number(limits::TREES)),
        Table::Broadcasts => format!("{}; {}", number(limits::BROADCASTS), size(limits::BROADCASTS_BYTES)),
        Table::Nodes => {
            let links = number(limits::ANNOUNCED_LINKS);
            format!("{}; {links} links; {}", number(presence_nodes), size(limits::ANNOUNCED_BYTES))
        }
        Table::Searches => number(limits::SEARCHES_SEEN),
        Table::ExercisePeers => number(limits::EXERCISE_PEERS),
        Table::DialBacks => "one for each link".into(),
    }
}

fn gives_way(table: Table) -> &'static str {
    match table {
        Table::AddressBook => {
            "failed ones, then those that only the address group named that named most; for a self-announced one any that never led to a node, but of those that were self-announced only its own group's"
        }
        Table::Pool => "more are refused",
        Table::Trees => "the oldest: their transactions are flooded",
        Table::Broadcasts => "the oldest of the party that brought most bytes",
        Table::Nodes => "those of the party that brought most",
        Table::Searches => "the oldest of the party that brought most",
        Table::ExercisePeers => "the oldest without a link of the party that named most",
        Table::DialBacks => "the last one counts",
    }
}

/// Writes a number with a comma before each three digits.
fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{} bytes", number(bytes)),
    }
}
