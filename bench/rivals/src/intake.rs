//! The WebSocket at which the bench pushes transactions and asks how far the node is, as with a
//! node of ours.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{accept_async, tungstenite};

use crate::tally::Tally;

/// How many transactions wait to be sent on before the pusher is slowed down.
const WAITING: usize = 1_024;
const BEFORE_TRANSACTION: &str = r#"{"type":"TRANSACTION","data":"#;
const BEFORE_STATUS: &str = r#"{"type":"STATUS""#;

/// The transactions that are pushed at this node, each as its JSON text.
pub type Intake = mpsc::Receiver<Bytes>;

/// Listens at a port of this machine.
///
/// # Errors
/// The port is taken.
pub async fn listen(port: u16, tally: Tally) -> Result<Intake> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| format!("port {port} can not be listened on"))?;
    let (sender, intake) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (sender, tally) = (sender.clone(), tally.clone());
            tokio::spawn(async move {
                // Whoever speaks otherwise, or goes away in the midst of a word, is the bench's
                // concern.
                if let Err(error) = serve(stream, sender, tally).await {
                    eprintln!("a connection of the bench's ended: {error}");
                }
            });
        }
    });
    Ok(intake)
}

async fn serve(stream: TcpStream, sender: mpsc::Sender<Bytes>, tally: Tally) -> Result<(), tungstenite::Error> {
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        if let Some(transaction) = transaction(&text) {
            if sender.send(transaction).await.is_err() {
                return Ok(());
            }
        } else if text.starts_with(BEFORE_STATUS) {
            socket.send(Message::text(status(&tally))).await?;
        }
    }
    Ok(())
}

/// The transaction in a frame, not copied.
fn transaction(frame: &Utf8Bytes) -> Option<Bytes> {
    let data = frame.strip_prefix(BEFORE_TRANSACTION)?.strip_suffix('}')?;
    Some(AsRef::<Bytes>::as_ref(frame).slice_ref(data.as_bytes()))
}

/// The answer, as far as it interests the bench.
fn status(tally: &Tally) -> String {
    let (linked, count, twice) = tally.status();
    let connected = vec![0; linked];
    format!(r#"{{"type":"STATUS","data":{{"connected":{connected:?},"pool":{{"count":{count}}},"twice":{twice}}}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_taken_out_of_its_frame() {
        let frame = Utf8Bytes::from_static(r#"{"type":"TRANSACTION","data":{"id":1}}"#);
        assert_eq!(transaction(&frame).unwrap(), r#"{"id":1}"#);
        assert_eq!(transaction(&Utf8Bytes::from_static(r#"{"type":"STATUS","data":{}}"#)), None);
    }

    #[test]
    fn the_status_is_json() {
        let tally = Tally::default();
        tally.linked(2);
        let status: serde_json::Value = serde_json::from_str(&status(&tally)).unwrap();
        assert_eq!(status["data"]["connected"].as_array().unwrap().len(), 2);
    }
}
