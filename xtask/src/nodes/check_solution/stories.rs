//! What a solution is asked: the user stories of the exercise and its official tests, the bonus,
//! and what a good peer survives. Each story has a copy of the solution of its own.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::peer::{Answer, Caller, Peer, WITHIN, cut};
use super::solution::{Solution, Template};

/// How long nothing may happen where nothing is to happen.
const QUIET: Duration = Duration::from_secs(1);
/// How many transactions a burst has.
const BURST: usize = 100;

/// Why a story is not fulfilled.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) sent: String,
    pub(super) expected: String,
    pub(super) came: String,
}

type Checked = Result<(), Failure>;

/// Where a story comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Exercise,
    Bonus,
    GoodPeer,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Exercise => "exercise",
            Self::Bonus => "bonus",
            Self::GoodPeer => "good peer",
        }
    }
}

macro_rules! stories {
    ($($story:ident, $part:ident, $name:literal, $text:literal, $hint:literal;)*) => {
        /// One thing that is asked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Story { $($story),* }

        impl Story {
            pub(super) const ALL: &[Self] = &[$(Self::$story),*];

            pub(super) fn part(self) -> Part {
                match self { $(Self::$story => Part::$part),* }
            }

            /// What tests and `--json` call it.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$story => $name),* }
            }

            pub(super) fn text(self) -> &'static str {
                match self { $(Self::$story => $text),* }
            }

            pub(super) fn hint(self) -> &'static str {
                match self { $(Self::$story => $hint),* }
            }
        }
    };
}

stories! {
    Listens, Exercise, "listens", "It listens on the port in its .env",
        "new WebSocketServer({ port: process.env.PORT })";
    DialsKnown, Exercise, "dials-known", "At the start it dials all addresses in known-peers.json",
        "call your connect function for each address in knownPeers";
    SendsHandshake, Exercise, "sends-handshake", "On a socket that it opened it sends HANDSHAKE with its own address",
        "in the socket's 'open' handler: send({ type: 'HANDSHAKE', data: [myAddress, ...connectedAddresses] })";
    NamesConnected, Exercise, "names-connected", "HANDSHAKE names each address that it is connected to",
        "push the address onto connectedAddresses in 'open', before the HANDSHAKE is sent";
    DialsTold, Exercise, "dials-told", "It dials each address in the data of a HANDSHAKE that it gets",
        "in the server socket's 'message' handler: message.data.forEach(connect)";
    ForgetsClosed, Exercise, "forgets-closed", "After a socket has closed, HANDSHAKE does not name its address",
        "in the socket's 'close' handler take the address out of connectedAddresses";
    DialsOnce, Exercise, "dials-once", "It opens one connection to an address, however often it is told of it",
        "skip addresses that are in connectedAddresses or in attemptingToConnectToAddress";
    DialsAgain, Exercise, "dials-again", "After a failed attempt it dials the address when it is told of it again",
        "in the socket's 'error' handler take the address out of attemptingToConnectToAddress";
    NeverItself, Exercise, "never-itself", "It never dials its own address",
        "return from your connect function if the address is myAddress";
    ThreeMeet, Exercise, "three-meet", "Three nodes that know the first and the third are all connected to each other",
        "each of the stories above is needed for this; mend those first";
    StoresTransaction, Bonus, "stores-transaction", "It writes a TRANSACTION that it gets into transactions.json",
        "push message.data onto getTransactions() and call writeTransactions";
    SendsOn, Bonus, "sends-on", "It sends a TRANSACTION on to the peers that it is connected to",
        "keep the sockets that you opened, and send the same message on each";
    StoresOnce, Bonus, "stores-once", "It writes a TRANSACTION that comes twice once",
        "before you write it, look for its hash in getTransactions()";
    NoLoop, Bonus, "no-loop", "In a mesh of three a TRANSACTION reaches all once, and is not sent in a circle",
        "send a transaction on only when it was new to you";
    KeepsAll, Bonus, "keeps-all", "It keeps and sends on each of 100 TRANSACTIONs that come at once",
        "read, push and write in one step, without an await in between; and send each on, not only the first";
    DeadAddress, GoodPeer, "dead-address", "It survives addresses where nobody listens",
        "a socket without an 'error' handler ends the program: add one to each socket that you open";
    Refused, GoodPeer, "refused", "It survives a server that answers its dial with an HTTP error",
        "the same 'error' handler";
    Closes, GoodPeer, "closes", "It survives a peer that closes at once or breaks off",
        "'error' and 'close' handlers on accepted sockets too";
    ForeignTypes, GoodPeer, "foreign-types", "It ignores messages of types that it does not know",
        "look at message.type before you use message.data";
    NotJson, GoodPeer, "not-json", "It survives messages that are no JSON, or no object",
        "try { JSON.parse(text) } catch { return }, and check that you got an object";
    BadHandshake, GoodPeer, "bad-handshake", "It survives a HANDSHAKE without addresses, or with texts that are no addresses",
        "check Array.isArray(message.data), and catch what new WebSocket(address) throws";
    KeepsPeers, GoodPeer, "keeps-peers", "A failed attempt does not make it forget a peer that it is connected to",
        "indexOf gives -1 for an address that is not in the list, and splice(-1, 1) takes the last one out";
    ComesBack, GoodPeer, "comes-back", "It dials a peer that was away when it is told of it again",
        "take the address out of connectedAddresses in 'close', also when the other end closed";
    Reserialised, GoodPeer, "reserialised", "It recognises a TRANSACTION that a peer re-serialised",
        "compare the hash, not the text of the message";
    Restarts, GoodPeer, "restarts", "After a crash it dials its known peers, and recognises its transactions",
        "do not write transactions.json at the start, and look in it for what you know, not in memory alone";
}

fn handshake(addresses: &[&str]) -> String {
    json!({ "type": "HANDSHAKE", "data": addresses }).to_string()
}

/// A transaction as the exercise's add-transaction makes them.
fn transaction(number: usize) -> Value {
    json!({ "hash": format!("{number:064x}"), "fromAddress": null, "toAddress": "a friend", "amount": 20 })
}

fn transaction_message(number: usize) -> String {
    json!({ "type": "TRANSACTION", "data": transaction(number) }).to_string()
}

fn fail(sent: impl Into<String>, expected: impl Into<String>, came: impl Into<String>) -> Checked {
    Err(Failure { sent: sent.into(), expected: expected.into(), came: came.into() })
}

fn ensure(holds: bool, sent: &str, expected: impl Into<String>, came: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { fail(sent, expected, came()) }
}

/// Waits until something about the solution's file or process holds.
async fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let poll = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WITHIN, poll).await.is_ok()
}

/// How many rows of a pool have the hash of a transaction.
fn rows(pool: &[Value], number: usize) -> usize {
    let hash = transaction(number)["hash"].clone();
    pool.iter().filter(|row| row["hash"] == hash).count()
}

async fn dial(solution: &Solution) -> Result<Caller, Failure> {
    Caller::dial(solution.port).await.map_err(|came| Failure {
        sent: format!("a WebSocket connection to {}", solution.address),
        expected: "it is accepted".into(),
        came: came + &solution.last_lines(),
    })
}

/// Tells a solution of an address, and returns the HANDSHAKE that it sends there.
async fn told(solution: &Solution, caller: &mut Caller, peer: &Peer) -> Result<Vec<String>, Failure> {
    let sent = handshake(&[&peer.address]);
    caller.send(sent.clone()).await;
    peer.handshake().await.map_err(|came| Failure {
        sent,
        expected: format!("a connection to {} with a HANDSHAKE", peer.address),
        came: came + &solution.last_lines(),
    })
}

/// Passes if the solution still runs, accepts, and dials what it is told of.
async fn still_works(solution: &mut Solution, sent: &str) -> Checked {
    let expected = "it goes on: it accepts connections and dials a new address";
    let works = async {
        let mut caller = Caller::dial(solution.port).await?;
        let peer = Peer::listen(Answer::Upgrade).await.map_err(|error| error.to_string())?;
        caller.send(handshake(&[&peer.address])).await;
        peer.handshake().await
    };
    let works = works.await;
    // One that refuses connections may be about to end.
    if works.is_err() && solution.ends_within(QUIET).await {
        return fail(sent, expected, format!("the process ended{}", solution.last_lines()));
    }
    works.map(|_| ()).or_else(|came| fail(sent, expected, came))
}

impl Story {
    /// Runs a story.
    ///
    /// # Errors
    /// The solution could not be started, or the checker has a fault.
    pub(super) async fn check(self, template: &Template) -> Result<Checked> {
        match self {
            Self::Listens => {
                let solution = Solution::start(template, &[]).await?;
                Ok(dial(&solution).await.map(|_| ()))
            }
            Self::DialsKnown | Self::SendsHandshake => dials_known(self, template).await,
            Self::NamesConnected | Self::ForgetsClosed => names_connected(self, template).await,
            Self::DialsTold => {
                let (solution, peer) = (Solution::start(template, &[]).await?, Peer::listen(Answer::Upgrade).await?);
                Ok(match dial(&solution).await {
                    Ok(mut caller) => told(&solution, &mut caller, &peer).await.map(|_| ()),
                    Err(failure) => Err(failure),
                })
            }
            Self::DialsOnce => dials_once(template).await,
            Self::DialsAgain => dials_again(template).await,
            Self::KeepsPeers => keeps_peers(template).await,
            Self::ComesBack => comes_back(template).await,
            Self::NeverItself => never_itself(template).await,
            Self::ThreeMeet => three_meet(template).await,
            Self::StoresTransaction | Self::StoresOnce | Self::Reserialised => stores(self, template).await,
            Self::SendsOn | Self::KeepsAll => sends_on(self, template).await,
            Self::NoLoop => no_loop(template).await,
            Self::DeadAddress | Self::Refused | Self::Closes => bad_peers(self, template).await,
            Self::ForeignTypes | Self::NotJson | Self::BadHandshake => bad_messages(self, template).await,
            Self::Restarts => restarts(template).await,
        }
    }
}

async fn dials_known(story: Story, template: &Template) -> Result<Checked> {
    let (one, two) = (Peer::listen(Answer::Upgrade).await?, Peer::listen(Answer::Upgrade).await?);
    let known = [one.address.clone(), two.address.clone()];
    let solution = Solution::start(template, &known).await?;
    let start = format!("known-peers.json: {}", json!(known));
    for peer in [&one, &two] {
        let seen = peer.wait(|seen| seen.open > 0).await;
        if seen.open == 0 {
            let came = format!("{} connections{}", seen.connections, solution.last_lines());
            return Ok(fail(start, format!("a connection to {}", peer.address), came));
        }
        if story == Story::SendsHandshake {
            let expected = format!("HANDSHAKE with data that has {}", solution.address);
            match peer.handshake().await {
                Err(came) => return Ok(fail(start, expected, came)),
                Ok(data) if !data.contains(&solution.address) => {
                    return Ok(fail(start, expected, json!(data).to_string()));
                }
                Ok(_) => {}
            }
        }
    }
    Ok(Ok(()))
}

async fn names_connected(story: Story, template: &Template) -> Result<Checked> {
    let solution = Solution::start(template, &[]).await?;
    let (one, two) = (Peer::listen(Answer::Upgrade).await?, Peer::listen(Answer::Upgrade).await?);
    let checked = async {
        let mut caller = dial(&solution).await?;
        let data = told(&solution, &mut caller, &one).await?;
        let sent = handshake(&[&one.address]);
        if story == Story::NamesConnected {
            let expected = format!("HANDSHAKE to {} that names it", one.address);
            ensure(data.contains(&one.address), &sent, expected, || json!(data).to_string())?;
            let data = told(&solution, &mut caller, &two).await?;
            let expected = format!("HANDSHAKE that names {} too", one.address);
            return ensure(data.contains(&one.address), &handshake(&[&two.address]), expected, || {
                json!(data).to_string()
            });
        }
        one.close().await;
        // The solution's own 'close' event comes a moment later than ours.
        sleep(QUIET / 4).await;
        let data = told(&solution, &mut caller, &two).await?;
        let sent = format!("{sent}, then {} closed, then {}", one.address, handshake(&[&two.address]));
        let expected = format!("HANDSHAKE that does not name {}", one.address);
        ensure(!data.contains(&one.address), &sent, expected, || json!(data).to_string())
    };
    Ok(checked.await)
}

async fn dials_once(template: &Template) -> Result<Checked> {
    let solution = Solution::start(template, &[]).await?;
    let late = Peer::listen(Answer::Late(QUIET / 2)).await?;
    let checked = async {
        let mut caller = dial(&solution).await?;
        let sent = handshake(&[&late.address, &late.address]);
        // While the first attempt waits for its answer, and after it.
        for _ in 0..3 {
            caller.send(sent.clone()).await;
            sleep(QUIET / 10).await;
        }
        late.wait(|seen| seen.open > 0).await;
        caller.send(sent.clone()).await;
        sleep(QUIET).await;
        let seen = late.seen();
        let expected = format!("one connection to {}", late.address);
        ensure(seen.connections == 1, &format!("four times {sent}"), expected, || {
            format!("{} connections", seen.connections)
        })
    };
    Ok(checked.await)
}

async fn dials_again(template: &Template) -> Result<Checked> {
    let mut solution = Solution::start(template, &[]).await?;
    let port = Peer::free_port()?;
    let checked = async {
        let mut caller = dial(&solution).await?;
        let sent = handshake(&[&format!("ws://localhost:{port}")]);
        caller.send(sent.clone()).await;
        sleep(QUIET / 2).await;
        let sent = format!("{sent}, once while nobody listens there, and again when somebody does");
        if !solution.runs() {
            return fail(sent, "it goes on", format!("the process ended{}", solution.last_lines()));
        }
        let peer = Peer::listen_on(port, Answer::Upgrade).await.map_err(|error| Failure {
            sent: sent.clone(),
            expected: "a free port".into(),
            came: error.to_string(),
        })?;
        // A node may wait a moment before it tries an address again.
        let mut caller = dial(&solution).await?;
        told(&solution, &mut caller, &peer).await.map(|_| ()).map_err(|failure| Failure { sent, ..failure })
    };
    Ok(checked.await)
}

async fn keeps_peers(template: &Template) -> Result<Checked> {
    let mut solution = Solution::start(template, &[]).await?;
    let (live, new) = (Peer::listen(Answer::Upgrade).await?, Peer::listen(Answer::Upgrade).await?);
    let dead = format!("ws://localhost:{}", Peer::free_port()?);
    let checked = async {
        let mut caller = dial(&solution).await?;
        told(&solution, &mut caller, &live).await?;
        caller.send(handshake(&[&dead])).await;
        sleep(QUIET / 4).await;
        let all = [&live.address, &dead, &new.address].map(|address| handshake(&[address]));
        let sent = format!("one after the other {}; nobody listens at the second", all.join(", "));
        if !solution.runs() {
            return fail(sent, "it goes on", format!("the process ended{}", solution.last_lines()));
        }
        let data = told(&solution, &mut caller, &new).await?;
        let expected = format!("HANDSHAKE to the third that names {} too", live.address);
        ensure(data.contains(&live.address), &sent, expected, || json!(data).to_string())
    };
    Ok(checked.await)
}

async fn comes_back(template: &Template) -> Result<Checked> {
    let solution = Solution::start(template, &[]).await?;
    let port = Peer::free_port()?;
    let away = Peer::listen_on(port, Answer::Upgrade).await?;
    let checked = async {
        let mut caller = dial(&solution).await?;
        told(&solution, &mut caller, &away).await?;
        away.close().await;
        sleep(QUIET / 4).await;
        let back = Peer::listen_on(port, Answer::Upgrade).await.map_err(|error| Failure {
            sent: "a peer that comes back".into(),
            expected: "a free port".into(),
            came: error.to_string(),
        })?;
        let again = told(&solution, &mut caller, &back).await;
        again
            .map(|_| ())
            .map_err(|failure| Failure { sent: format!("{}, again after it was away", failure.sent), ..failure })
    };
    Ok(checked.await)
}

async fn never_itself(template: &Template) -> Result<Checked> {
    let solution = Solution::start(template, &[]).await?;
    let peer = Peer::listen(Answer::Upgrade).await?;
    let checked = async {
        let mut caller = dial(&solution).await?;
        let sent = handshake(&[&solution.address]);
        caller.send(sent.clone()).await;
        sleep(QUIET / 2).await;
        // What it would be connected to then, it would name.
        let data = told(&solution, &mut caller, &peer).await?;
        let own = data.iter().filter(|address| **address == solution.address).count();
        let sent = format!("{sent}, then {}", handshake(&[&peer.address]));
        ensure(own == 1, &sent, format!("HANDSHAKE that names {} once", solution.address), || json!(data).to_string())
    };
    Ok(checked.await)
}

/// Starts three copies that know the first and the third, as in the exercise.
async fn start_three(template: &Template) -> Result<Vec<Solution>> {
    let ports = [Peer::free_port()?, Peer::free_port()?, Peer::free_port()?];
    let known: Vec<String> = [0, 2].map(|number: usize| format!("ws://localhost:{}", ports[number])).into();
    let mut nodes = Vec::new();
    for port in ports {
        nodes.push(Solution::start_on(template, port, &known).await?);
    }
    Ok(nodes)
}

/// Waits until each of the nodes names all of them in a HANDSHAKE to a new peer.
async fn all_named(nodes: &[Solution]) -> Checked {
    let addresses: Vec<&str> = nodes.iter().map(|node| &*node.address).collect();
    let started = format!("three nodes: {}", addresses.join(", "));
    let (mut last, mut missing) = (Vec::new(), None);
    // Each question needs a new peer; the nodes have the time of a step to meet.
    let asked = timeout(WITHIN, async {
        loop {
            missing = None;
            for node in nodes {
                let peer = Peer::listen(Answer::Upgrade).await.map_err(|error| error.to_string())?;
                let mut caller = Caller::dial(node.port).await?;
                caller.send(handshake(&[&peer.address])).await;
                last = peer.handshake().await?;
                missing = addresses.iter().find(|address| !last.iter().any(|named| named == *address));
                if missing.is_some() {
                    missing = missing.or(Some(&addresses[0]));
                    break;
                }
            }
            if missing.is_none() {
                return Ok::<(), String>(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
    match asked.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(came)) => fail(started, "HANDSHAKE of each that names all three", came),
        Err(_) => fail(started, "HANDSHAKE of each that names all three", json!(last).to_string()),
    }
}

async fn three_meet(template: &Template) -> Result<Checked> {
    Ok(all_named(&start_three(template).await?).await)
}

async fn stores(story: Story, template: &Template) -> Result<Checked> {
    let solution = Solution::start(template, &[]).await?;
    let checked = async {
        let mut caller = dial(&solution).await?;
        let sent = transaction_message(1);
        caller.send(sent.clone()).await;
        let stored = eventually(|| rows(&solution.pool(), 1) > 0).await;
        let came = || format!("{}{}", json!(solution.pool()), solution.last_lines());
        ensure(stored, &sent, "its data in transactions.json", came)?;
        let again = match story {
            Story::StoresTransaction => return Ok(()),
            // A peer that parses and writes it: other order, other blanks, a field more beside the
            // data.
            Story::Reserialised => {
                let data = serde_json::to_string_pretty(&transaction(1)).unwrap_or_default();
                format!(r#"{{ "data": {data}, "type": "TRANSACTION", "sentAt": 1 }}"#)
            }
            _ => sent,
        };
        caller.send(again.clone()).await;
        caller.send(transaction_message(2)).await;
        eventually(|| rows(&solution.pool(), 2) > 0).await;
        let count = rows(&solution.pool(), 1);
        ensure(count == 1, &again, "it stands once in transactions.json", || format!("{count} times"))
    };
    Ok(checked.await)
}

async fn sends_on(story: Story, template: &Template) -> Result<Checked> {
    let peer = Peer::listen(Answer::Upgrade).await?;
    let solution = Solution::start(template, std::slice::from_ref(&peer.address)).await?;
    let count = if story == Story::KeepsAll { BURST } else { 1 };
    let checked = async {
        peer.handshake().await.map_err(|came| Failure {
            sent: "known-peers.json with a peer".into(),
            expected: "a HANDSHAKE there".into(),
            came,
        })?;
        let mut caller = dial(&solution).await?;
        for number in 1..=count {
            caller.send(transaction_message(number)).await;
        }
        let hashes = |value: &Value| value["data"]["hash"].clone();
        let arrived = |number: usize, all: &[Value]| all.iter().any(|one| hashes(one) == transaction(number)["hash"]);
        let seen = peer
            .wait(|seen| {
                let all = seen.of_type("TRANSACTION");
                all.len() >= count && (1..=count).all(|number| arrived(number, &all))
            })
            .await;
        let all = seen.of_type("TRANSACTION");
        let came = (1..=count).filter(|number| arrived(*number, &all)).count();
        let sent = if count == 1 { transaction_message(1) } else { format!("{count} TRANSACTIONs at once") };
        let expected = format!("{count} of them at a peer that it is connected to");
        ensure(came == count, &sent, expected, || format!("{came} of {count} came{}", solution.last_lines()))?;
        let data_came = all.iter().any(|one| one["data"] == transaction(1));
        ensure(data_came, &sent, format!("the same data: {}", transaction(1)), || {
            all.first().map(|first| cut(&first.to_string())).unwrap_or_default()
        })?;
        eventually(|| (1..=count).all(|number| rows(&solution.pool(), number) == 1)).await;
        let pool = solution.pool();
        let stored = (1..=count).filter(|number| rows(&pool, *number) == 1).count();
        ensure(stored == count, &sent, format!("each of {count} once in transactions.json"), || {
            format!("{stored} of {count} once, {} rows in all", pool.len())
        })
    };
    Ok(checked.await)
}

async fn no_loop(template: &Template) -> Result<Checked> {
    let nodes = start_three(template).await?;
    let peer = Peer::listen(Answer::Upgrade).await?;
    let checked = async {
        all_named(&nodes).await?;
        for node in &nodes {
            let before = peer.seen().of_type("HANDSHAKE").len();
            let mut caller = dial(node).await?;
            caller.send(handshake(&[&peer.address])).await;
            peer.wait(|seen| seen.of_type("HANDSHAKE").len() > before).await;
        }
        let mut caller = dial(&nodes[0]).await?;
        let sent = transaction_message(1);
        caller.send(sent.clone()).await;
        eventually(|| nodes.iter().all(|node| rows(&node.pool(), 1) > 0)).await;
        sleep(QUIET).await;
        for node in &nodes {
            let count = rows(&node.pool(), 1);
            let expected = "it stands once in transactions.json of each of three nodes";
            ensure(count == 1, &sent, expected, || format!("{count} times in that of {}", node.address))?;
        }
        let copies = peer.seen().of_type("TRANSACTION").len();
        let expected = "at most three copies at a peer of all three";
        ensure(copies <= nodes.len(), &sent, expected, || format!("{copies} copies"))
    };
    Ok(checked.await)
}

async fn bad_peers(story: Story, template: &Template) -> Result<Checked> {
    let mut solution = Solution::start(template, &[]).await?;
    let answer = match story {
        Story::Refused => Answer::Refuse,
        _ => Answer::Close,
    };
    let bad = Peer::listen(answer).await?;
    let checked = async {
        let mut caller = dial(&solution).await?;
        let sent = match story {
            Story::DeadAddress => {
                let dead = Peer::free_port().unwrap_or(1);
                handshake(&[&format!("ws://localhost:{dead}"), &format!("ws://127.0.0.1:{dead}")])
            }
            _ => handshake(&[&bad.address]),
        };
        caller.send(sent.clone()).await;
        if story != Story::DeadAddress {
            bad.wait(|seen| seen.connections > 0).await;
        }
        // A connection that breaks off without a close frame.
        drop(caller);
        sleep(QUIET / 4).await;
        let what = match story {
            Story::DeadAddress => format!("{sent}; nobody listens there"),
            Story::Refused => format!("{sent}; it answers 403"),
            _ => format!("{sent}; it closes at once, and so does the caller"),
        };
        still_works(&mut solution, &what).await
    };
    Ok(checked.await)
}

async fn bad_messages(story: Story, template: &Template) -> Result<Checked> {
    let mut solution = Solution::start(template, &[]).await?;
    let trap = Peer::listen(Answer::Upgrade).await?;
    let messages: Vec<String> = match story {
        Story::ForeignTypes => vec![
            json!({ "type": "HELLO", "data": { "name": "somebody" } }).to_string(),
            json!({ "type": "PING" }).to_string(),
            json!({ "type": "PEERS", "data": [trap.address] }).to_string(),
        ],
        Story::NotJson => {
            vec!["hello".into(), "{\"type\":".into(), "null".into(), "7".into(), "[]".into(), String::new()]
        }
        _ => vec![
            json!({ "type": "HANDSHAKE" }).to_string(),
            json!({ "type": "HANDSHAKE", "data": null }).to_string(),
            json!({ "type": "HANDSHAKE", "data": { "0": "x" } }).to_string(),
            json!({ "type": "HANDSHAKE", "data": ["", "localhost", "http://", "ws://localhost:99999", 7, null, {}] })
                .to_string(),
        ],
    };
    for message in messages {
        let checked = async {
            let mut caller = dial(&solution).await?;
            caller.send(message.clone()).await;
            caller.handled().await;
            still_works(&mut solution, &message).await
        };
        if let failed @ Err(_) = checked.await {
            return Ok(failed);
        }
    }
    let dialled = trap.seen().connections;
    let sent = json!({ "type": "PEERS", "data": [trap.address] }).to_string();
    Ok(ensure(dialled == 0, &sent, "no dial: only HANDSHAKE names addresses", || format!("{dialled} connections")))
}

async fn restarts(template: &Template) -> Result<Checked> {
    let peer = Peer::listen(Answer::Upgrade).await?;
    let mut solution = Solution::start(template, std::slice::from_ref(&peer.address)).await?;
    let first = async {
        peer.wait(|seen| seen.open > 0).await;
        let mut caller = dial(&solution).await?;
        caller.send(transaction_message(1)).await;
        let stored = eventually(|| rows(&solution.pool(), 1) > 0).await;
        ensure(stored, &transaction_message(1), "its data in transactions.json", || json!(solution.pool()).to_string())
    };
    if let failed @ Err(_) = first.await {
        return Ok(failed);
    }
    let before = peer.seen().connections;
    solution.restart().await?;
    let sent = "it is killed and started again";
    let seen = peer.wait(|seen| seen.connections > before).await;
    let dialled = ensure(seen.connections > before, sent, "a connection to its known peer", || {
        format!("none{}", solution.last_lines())
    });
    let again = async {
        dialled?;
        let mut caller = dial(&solution).await?;
        caller.send(transaction_message(1)).await;
        caller.send(transaction_message(2)).await;
        eventually(|| rows(&solution.pool(), 2) > 0).await;
        let pool = solution.pool();
        let sent = format!("{sent}; then the same TRANSACTION once more");
        ensure(rows(&pool, 1) == 1, &sent, "it stands once in transactions.json", || json!(pool).to_string())
    };
    Ok(again.await)
}
