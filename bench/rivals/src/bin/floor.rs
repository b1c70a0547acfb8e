//! The floor: what a delivery costs when nothing is done but sending a frame to everybody and
//! counting it. No identity, no duplicate, no relaying, no check.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rivals::{Arguments, Folder, Intake, Tally, end_with, listen, peer_port};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite};

/// How long to wait before a node that does not listen yet is dialled again.
const PAUSE: Duration = Duration::from_millis(10);

type Socket = WebSocketStream<TcpStream>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = Folder::read()?;
    let tally = Tally::new(arguments.delays);
    let intake = listen(folder.port, tally.clone()).await?;
    end_with(tally.clone(), run(arguments.flush, folder, intake, tally)).await
}

async fn run(flush: usize, folder: Folder, mut intake: Intake, tally: Tally) -> Result<()> {
    let mut writers = Vec::with_capacity(folder.others.len());
    for link in link_all(&folder).await? {
        let (writer, reader) = link.split();
        writers.push(writer);
        let tally = tally.clone();
        tokio::spawn(async move {
            // A peer that was told to end before us ends the link; in the midst of a run that shows
            // as a loss.
            if let Err(error) = count(reader, &tally).await {
                eprintln!("a link broke: {error}");
            }
        });
    }
    tally.linked(writers.len());
    let mut batch = Vec::with_capacity(flush);
    while intake.recv_many(&mut batch, flush).await > 0 {
        for transaction in &batch {
            tally.pushed(transaction);
        }
        let frames = batch.drain(..).map(Utf8Bytes::try_from).collect::<Result<Vec<_>, _>>()?;
        send_all(&mut writers, &frames).await.context("a peer does not take frames")?;
    }
    Ok(())
}

async fn send_all(writers: &mut [SplitSink<Socket, Message>], frames: &[Utf8Bytes]) -> Result<(), tungstenite::Error> {
    for writer in writers {
        for frame in frames {
            writer.feed(Message::Text(frame.clone())).await?;
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn count(mut reader: SplitStream<Socket>, tally: &Tally) -> Result<(), tungstenite::Error> {
    while let Some(message) = reader.next().await {
        if let Message::Text(text) = message? {
            tally.delivered(text.as_bytes());
        }
    }
    Ok(())
}

/// One link to every other node: of two, the one with the higher port dials.
async fn link_all(folder: &Folder) -> Result<Vec<Socket>> {
    let own = peer_port(folder.port);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, own)).await;
    let listener = listener.with_context(|| format!("port {own} can not be listened on"))?;
    let (lower, higher): (HashSet<u16>, HashSet<u16>) = folder.others.iter().partition(|other| **other < folder.port);
    let mut links = Vec::with_capacity(folder.others.len());
    for port in lower {
        links.push(dial(peer_port(port)).await?);
    }
    for _ in higher {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        links.push(accept_async(stream).await?);
    }
    Ok(links)
}

async fn dial(port: u16) -> Result<Socket> {
    loop {
        if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            stream.set_nodelay(true)?;
            let (socket, _) = client_async(format!("ws://localhost:{port}"), stream).await?;
            return Ok(socket);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
