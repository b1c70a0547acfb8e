//! A chat without a server. Rooms are topics: who is not in a room gets nothing of it, and who
//! comes later gets the last ten minutes. Run it in several terminals, or on several machines:
//!
//! ```text
//! cargo run -p meshpool --example chat -- /tmp/ann ann garden
//! cargo run -p meshpool --example chat -- /tmp/bob bob garden,kitchen ws://localhost:<a port>
//! ```
//!
//! Then type `garden hello`.

use std::error::Error;
use std::time::Duration;

use meshpool::strip_control;
use meshpool::{Event, Network, TopicConfig, TypedFollow, TypedItem, TypedTopic};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// How long a message is kept for those who come later.
const KEPT: Duration = Duration::from_secs(600);

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    from: String,
    text: String,
    /// Equal objects are one item: this tells two equal messages apart.
    number: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: chat FOLDER NAME ROOM[,ROOM…] [ADDRESS OF A NODE]";
    let (folder, name) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let rooms: Vec<String> = arguments.next().ok_or(usage)?.split(',').map(str::to_owned).collect();
    std::fs::create_dir_all(&folder)?;
    let mut network = Network::new("localhost").name("chat").folder(folder);
    for room in &rooms {
        network = network.topic(room, TopicConfig::in_memory().keep_for(KEPT));
    }
    if let Some(peer) = arguments.next() {
        network = network.known_peer(peer.parse()?);
    }
    let node = network.start().await?;
    println!("node {} at {}", node.id(), node.address());

    let mut topics: Vec<TypedTopic<Message>> = Vec::new();
    for room in &rooms {
        let topic = node.topic(room)?.typed::<Message>();
        tokio::spawn(print(room.clone(), topic.follow(0)));
        topics.push(topic);
    }
    let (mut events, mut lines) = (node.events().without_transactions(), typed());
    loop {
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { break };
                let (room, text) = line.split_once(' ').unwrap_or((&line, ""));
                let Some(topic) = topics.iter().find(|topic| topic.topic().name() == room) else {
                    println!("(no room {room:?} here; say one of {rooms:?} and a text)");
                    continue;
                };
                let message = Message { from: name.clone(), text: text.to_owned(), number: rand::random() };
                if let Err(error) = topic.publish(&message).await {
                    println!("(not sent: {error})");
                }
            }
            event = events.recv() => match event? {
                Event::NodeJoined { node, .. } => println!("({node} joined)"),
                Event::NodeLeft { node, cause, .. } => println!("({node} left: {cause})"),
                _ => {}
            },
        }
    }
    node.shutdown().await?;
    Ok(())
}

/// Prints what is said in a room.
async fn print(room: String, mut follow: TypedFollow<Message>) {
    while let Ok(item) = follow.next().await {
        if let TypedItem::Item { value: Message { from, text, .. }, .. } = item {
            // Text of others may contain control sequences of the terminal.
            println!("[{room}] {}: {}", strip_control(&from), strip_control(&text));
        }
    }
}

/// The lines of standard input, read by a thread, because a read cannot be cancelled.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.blocking_send(line))
    });
    lines
}
