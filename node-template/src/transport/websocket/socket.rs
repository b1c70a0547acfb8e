//! A WebSocket as this transport opens it, and its configuration.

use meshpool_proto::limits::MESSAGE_BYTES;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::transport::bounded_stream::BoundedStream;
use crate::transport::websocket::read_buffer::ReadBuffer;
use crate::transport::websocket::write_buffer::WriteBuffer;
use crate::util::byte_stream::ByteStream;

/// A WebSocket whose upgrade is done.
pub(crate) type Socket = WebSocketStream<WriteBuffer<ReadBuffer<ByteStream<BoundedStream>>>>;

/// The configuration of every WebSocket.
///
/// The library's buffers are small: [`ReadBuffer`] and [`WriteBuffer`] replace them. The frame
/// limit is checked before memory is reserved, because a frame's head alone reserves what it
/// announces.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
}

/// Upgrades a connection, for a test of what is served on it.
#[cfg(test)]
pub(crate) async fn accept(stream: tokio::net::TcpStream) -> Socket {
    let stream = crate::transport::raw_stream::RawStream::tcp(stream).expect("a stream");
    let stream = ReadBuffer::new(ByteStream::Plain(BoundedStream::new(stream, usize::MAX)));
    tokio_tungstenite::accept_async_with_config(WriteBuffer::new(stream), Some(config())).await.expect("an upgrade")
}
