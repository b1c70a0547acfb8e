//! The task of a link over a TCP connection on this host.

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::transport::rate_limit::RateLimits;
use crate::transport::websocket::link::*;
use crate::transport::websocket::socket::accept;

const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// A link's task that runs, and its other end.
struct Link {
    queue: Arc<SendQueue>,
    arrivals: mpsc::Receiver<Arrival>,
    other: WebSocketStream<TcpStream>,
}

async fn link(rate: Option<LinkRateLimit>) -> Link {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(32 * 1024).expect("a small buffer");
    let (stream, accepted) = tokio::join!(socket.connect(listener.local_addr().expect("bound")), listener.accept());
    let url = "ws://localhost/";
    let (other, socket) =
        tokio::join!(client_async(url, stream.expect("it listens")), accept(accepted.expect("it connects").0));
    let (sender, arrivals) = mpsc::channel(64);
    let context = LinkContext {
        arrivals: sender,
        own: Origin::Node(meshpool_proto::id::NodeId([1; 32])),
        filter: Arc::new(DuplicateFilter::new(&[0; 16])),
        backpressure: Arc::default(),
        validators: Validators::default(),
        write_deadline: WRITE_DEADLINE,
        written: Arc::default(),
    };
    let queue = Arc::new(SendQueue::new(usize::MAX, usize::MAX, Arc::default(), LinkId(1)));
    let task = LinkTask::new(LinkId(1), socket, false, Arc::clone(&queue), Arc::default(), rate, context);
    tokio::spawn(Box::new(task).run());
    Link { queue, arrivals, other: other.expect("an upgrade").0 }
}

fn text(text: &str) -> tungstenite::Message {
    tungstenite::Message::text(text)
}

/// Closes a link with so many bytes queued whose other end takes some each second and sends a
/// message. Returns when it has ended, and whether the message was handled.
async fn closed(code: u16, bytes: usize) -> (Duration, bool) {
    let Link { queue, mut arrivals, mut other } = link(None).await;
    queue.push(Lane::Payload, (0..bytes / 1_024).map(|_| Item::Text("x".repeat(1_024).into())), bytes);
    tokio::task::yield_now().await;
    let start = Instant::now();
    queue.close(CloseReason { code, reason: "enough".into() });
    other.send(text(r#"{"type":"X"}"#)).await.expect("sent");
    let reading = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for _ in 0..16 {
                assert!(other.get_mut().read(&mut [0; 16 * 1024]).await.expect("it is open") > 0);
            }
        }
    };
    let ended = async {
        let mut handled = false;
        loop {
            match arrivals.recv().await.expect("it ends") {
                Arrival::Read { .. } => handled = true,
                Arrival::Closed { cause, .. } => {
                    assert_eq!(cause, LinkEnd::ClosedByUs("enough".into()));
                    return (start.elapsed(), handled);
                }
                _ => {}
            }
        }
    };
    tokio::select! {
        ended = ended => ended,
        () = reading => unreachable!("it reads on"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_closed_ends_however_slowly_the_other_end_reads() {
    const MANY: usize = 64 * 1024 * 1024;
    let (after, handled) = closed(1001, MANY).await;
    assert!(after >= WRITE_DEADLINE && after <= WRITE_DEADLINE + Duration::from_secs(1), "in order: {after:?}");
    assert!(handled, "what it sends shows what it has read");
    let (after, handled) = closed(1008, MANY).await;
    assert!(after <= CLOSE_WITHIN, "it broke rules: {after:?}");
    assert!(!handled);
    let (after, _) = closed(1001, 1_024).await;
    assert!(after <= Duration::from_secs(1), "with little queued: {after:?}");
}

#[tokio::test(start_paused = true)]
async fn reading_ends_where_the_rate_does_and_the_pause_is_reported() {
    let rate = RateLimits::new(1, 1).of([192, 0, 2, 1].into(), None);
    let Link { mut arrivals, mut other, .. } = link(rate).await;
    // Each costs two seconds.
    let long = "x".repeat(3_000);
    for number in 0..4 {
        let transaction = format!(r#"{{"type":"TRANSACTION","data":{{"number":{number},"text":"{long}"}}}}"#);
        other.feed(text(&transaction)).await.expect("room");
    }
    other.flush().await.expect("sent");
    let (start, mut batches) = (Instant::now(), Vec::<(usize, bool, u64)>::new());
    while batches.iter().map(|(count, ..)| count).sum::<usize>() < 4 {
        if let Arrival::Read { batch, .. } = arrivals.recv().await.expect("open") {
            batches.push((batch.messages.len(), batch.throttled, start.elapsed().as_secs()));
        }
    }
    assert_eq!(batches.iter().map(|(count, ..)| *count).max(), Some(1), "{batches:?}");
    assert!(batches.iter().any(|(_, throttled, _)| *throttled), "{batches:?}");
    assert!(start.elapsed() >= Duration::from_secs(4), "{batches:?}");
}
