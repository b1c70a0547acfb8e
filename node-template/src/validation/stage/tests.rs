use meshpool_proto::json::Parser;

use super::*;
use crate::pool::Memory;
use crate::validation::Until;

const PEER: LinkId = LinkId(1);
const CLIENT: LinkId = LinkId(2);

/// A stage whose rules defer everything: what goes in, and what the driver gets.
fn stage() -> (mpsc::Sender<Arrival>, mpsc::Receiver<Arrival>) {
    let rules = Rules::new(|_, _| async { Validation::Defer(Until::after(LONGEST)) });
    let ((input, arrivals), (next, output)) = (mpsc::channel(16), mpsc::channel(16));
    let pool = Reader::of_memory(Memory::default());
    tokio::spawn(Stage::new(StagedTopic::Default, rules, pool, Panics::default(), next).run(arrivals));
    (input, output)
}

fn transaction(n: usize) -> Transaction {
    let text = format!(r#"{{"n":{n},"x":"{}"}}"#, "x".repeat(250_000));
    Transaction::parse(&mut Parser::new(), &text).expect("a transaction")
}

fn read(link: LinkId, n: usize, ack: bool) -> Arrival {
    let frame = TransactionFrame { transaction: Ok(transaction(n)), origin: None, ack, synced: false };
    let messages = vec![Ok(Message::Transaction(frame))];
    Arrival::Read { link, batch: ReadBatch { messages, ..ReadBatch::default() } }
}

/// What the driver got on a link.
#[derive(Debug)]
enum Got {
    Judging(bool),
    Invalid(InvalidTransaction, bool),
}

async fn next(output: &mut mpsc::Receiver<Arrival>) -> (LinkId, Got) {
    match output.recv().await {
        Some(Arrival::Judging { link, judges }) => (link, Got::Judging(judges)),
        Some(Arrival::Read { link, mut batch }) => match batch.messages.pop() {
            Some(Ok(Message::Transaction(TransactionFrame { transaction: Err(error), ack, .. }))) => {
                (link, Got::Invalid(error, ack))
            }
            _ => panic!("another message"),
        },
        _ => panic!("another arrival"),
    }
}

#[tokio::test]
async fn a_client_whose_transaction_gives_way_to_others_gets_its_ack() {
    let (input, mut output) = stage();
    let fit = super::super::deferred::MOST_BYTES / transaction(0).body().len();
    for n in 0..fit {
        input.send(read(PEER, n, false)).await.expect("it runs");
        assert!(matches!(next(&mut output).await, (PEER, Got::Invalid(InvalidTransaction::Deferred { .. }, false))));
    }
    input.send(read(CLIENT, fit - 1, true)).await.expect("it runs");
    assert!(matches!(next(&mut output).await, (CLIENT, Got::Judging(true))));
    assert!(matches!(next(&mut output).await, (CLIENT, Got::Invalid(InvalidTransaction::Deferred { .. }, false))));
    input.send(read(PEER, fit, false)).await.expect("it runs");
    let id = transaction(fit - 1).id();
    loop {
        match next(&mut output).await {
            (CLIENT, Got::Invalid(InvalidTransaction::Refused { id: refused, reason }, true)) => {
                break assert!(refused == id && reason.contains("send it again"), "{reason}");
            }
            (PEER, _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(next(&mut output).await, (CLIENT, Got::Judging(false))));
}

#[tokio::test]
async fn of_many_who_wait_for_one_transaction_each_gets_its_ack() {
    let (input, mut output) = stage();
    let mut refused = 0;
    for n in 0..20 {
        input.send(read(LinkId(n), 0, true)).await.expect("it runs");
        refused += loop {
            match next(&mut output).await.1 {
                Got::Judging(true) => {}
                Got::Invalid(InvalidTransaction::Deferred { .. }, false) => break 0,
                Got::Invalid(InvalidTransaction::Refused { .. }, true) => break 1,
                other => panic!("{other:?}"),
            }
        };
    }
    assert_eq!(refused, 4, "no more than 16 wait");
}
