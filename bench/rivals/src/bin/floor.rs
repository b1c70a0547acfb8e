//! The floor: what a delivery costs when nothing is done but sending a frame to everybody and counting it. No identity, no duplicate, no relaying, no check.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rivals::{Arguments, Folder, Intake, Tally, end_with, listen, peer_port};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

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
    let mut links = link_all(&folder).await?;
    let (broken, mut first_broken) = mpsc::channel(1);
    let mut writers = Vec::with_capacity(links.len());
    for link in links.drain(..) {
        let (writer, reader) = link.split();
        writers.push(writer);
        let (tally, broken) = (tally.clone(), broken.clone());
        tokio::spawn(async move {
            let end = count(reader, &tally).await;
            // Of several, the first is told.
            broken.try_send(end).unwrap_or_default();
        });
    }
    tally.linked(writers.len());
    let mut batch = Vec::with_capacity(flush);
    loop {
        tokio::select! {
            _ = intake.recv_many(&mut batch, flush) => {
                for transaction in &batch {
                    tally.pushed(transaction);
                }
                let frames = batch.drain(..).map(Utf8Bytes::try_from).collect::<Result<Vec<_>, _>>()?;
                send_all(&mut writers, &frames).await?;
            }
            end = first_broken.recv() => {
                return end.unwrap_or(Ok(()));
            }
        }
    }
}

async fn send_all(writers: &mut [SplitSink<Socket, Message>], frames: &[Utf8Bytes]) -> Result<()> {
    for writer in writers {
        for frame in frames {
            writer.feed(Message::Text(frame.clone())).await.context("a peer does not take frames")?;
        }
        writer.flush().await.context("a peer does not take frames")?;
    }
    Ok(())
}

async fn count(mut reader: SplitStream<Socket>, tally: &Tally) -> Result<()> {
    while let Some(message) = reader.next().await {
        if let Message::Text(text) = message.context("a link broke")? {
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
