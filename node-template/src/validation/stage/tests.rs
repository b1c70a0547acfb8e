use meshpool_proto::json::Parser;

use super::*;
use crate::pool::Memory;
use crate::validation::Until;

const PEER: LinkId = LinkId(1);
const CLIENT: LinkId = LinkId(2);

/// A stage whose rules defer everything: what goes in, and what the driver gets.
fn stage() -> (mpsc::Sender<Arrival>, mpsc::Receiver<Arrival>) {
    let rules = Rules::new(|_, _| async { Validation::Defer(Until::after(LONGEST)) });
    stage_with(rules, &Memory::default())
}

fn stage_with(rules: Rules, memory: &Memory) -> (mpsc::Sender<Arrival>, mpsc::Receiver<Arrival>) {
    let ((input, arrivals), (next, output)) = (mpsc::channel(16), mpsc::channel(16));
    let pool = Reader::of_memory(memory.clone());
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

/// However much comes at once, it pushes out none of what comes before it in the chain. What comes
/// again, because there was no room for it, keeps nothing waiting whose turn has come.
#[tokio::test]
async fn a_chain_longer_than_what_is_held_goes_on_from_its_beginning() {
    const LONG: usize = 4_096 + 1_000;
    let (mut blocks, mut parser) = (Vec::new(), Parser::new());
    let mut parent = String::new();
    for n in 0..LONG {
        let block = Transaction::parse(&mut parser, &format!(r#"{{"n":{n},"parent":"{parent}"}}"#)).expect("a block");
        parent = block.id().to_string();
        blocks.push(block);
    }
    let memory = Memory::default();
    let rules = Rules::new(|block: Transaction, pool: Reader| async move {
        let value: serde_json::Value = serde_json::from_str(block.body()).expect("an object");
        let Ok(parent) = value["parent"].as_str().unwrap_or_default().parse() else { return Validation::Accept };
        match pool.find(&parent).await {
            Ok(Some(_)) => Validation::Accept,
            _ => Validation::Defer(Until::changed()),
        }
    });
    let (input, mut output) = stage_with(rules, &memory);
    let frame = |block: &Transaction| {
        let transaction = Ok(block.clone());
        Ok(Message::Transaction(TransactionFrame { transaction, origin: None, ack: false, synced: true }))
    };
    let send = |messages| Arrival::Read { link: PEER, batch: ReadBatch { messages, ..ReadBatch::default() } };
    // In its order, as a late joiner gets it. What is put off comes again, the last first.
    input.send(send(blocks.iter().map(frame).collect())).await.expect("it runs");
    let (mut accepted, mut sent, mut put_off) = (0, 0, std::collections::BTreeSet::new());
    while accepted < LONG {
        let Some(Arrival::Read { batch, .. }) = output.recv().await else { panic!("another arrival") };
        for message in batch.messages {
            match message {
                Ok(Message::Transaction(TransactionFrame { transaction: Ok(block), .. })) => {
                    assert_eq!(block.id(), blocks[accepted].id(), "in its order");
                    memory.store(block);
                    accepted += 1;
                }
                Ok(Message::Transaction(TransactionFrame {
                    transaction: Err(InvalidTransaction::PutOff { id }),
                    ..
                })) => {
                    put_off.insert(blocks.iter().rposition(|block| block.id() == id).expect("one of them"));
                }
                _ => {}
            }
        }
        if accepted >= sent + 256 {
            sent = accepted;
            let again = std::mem::take(&mut put_off).into_iter().rev().map(|n| frame(&blocks[n])).collect();
            input.try_send(send(again)).unwrap_or_else(|_| panic!("there is room"));
        }
    }
}
