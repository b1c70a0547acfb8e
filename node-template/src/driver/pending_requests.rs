//! Requests that wait for an answer of the core: submissions, broadcasts, searches.
//!
//! A requester may be gone when its answer comes, which is no error.

use std::collections::BTreeMap;

use meshpool_proto::wire::{Found, SearchId};
use meshpool_proto::{BroadcastReceipt, RequestId, SearchEnd, Submission};
use tokio::sync::{mpsc, oneshot};

use crate::core_queries::SearchAnswer;
use crate::transport::dial_permit::NamedBy;

/// The requests that wait.
#[derive(Debug, Default)]
pub(crate) struct PendingRequests {
    last: u64,
    submissions: BTreeMap<RequestId, PendingSubmission>,
    broadcasts: BTreeMap<RequestId, oneshot::Sender<BroadcastReceipt>>,
    searches: BTreeMap<SearchId, mpsc::Sender<SearchAnswer>>,
}

#[derive(Debug)]
struct PendingSubmission {
    /// `None` once it was answered.
    accepted: Option<oneshot::Sender<Result<Submission, String>>>,
    stored: oneshot::Sender<()>,
}

impl PendingRequests {
    fn next_id(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }

    /// Adds a submission.
    pub(crate) fn submit(
        &mut self,
        accepted: oneshot::Sender<Result<Submission, String>>,
        stored: oneshot::Sender<()>,
    ) -> RequestId {
        let request = self.next_id();
        self.submissions.insert(request, PendingSubmission { accepted: Some(accepted), stored });
        request
    }

    /// Adds a broadcast.
    pub(crate) fn broadcast(&mut self, reply: oneshot::Sender<BroadcastReceipt>) -> RequestId {
        let request = self.next_id();
        self.broadcasts.insert(request, reply);
        request
    }

    /// Adds a search, whose id the requester chose.
    pub(crate) fn search(&mut self, id: SearchId, answers: mpsc::Sender<SearchAnswer>) {
        self.searches.insert(id, answers);
    }

    /// Removes a search that its requester ended.
    pub(crate) fn end_search(&mut self, id: SearchId) {
        self.searches.remove(&id);
    }

    /// Answers a submission. If it was accepted, it still waits to be stored.
    pub(crate) fn on_submitted(&mut self, request: RequestId, outcome: Result<Submission, String>) {
        let refused = outcome.is_err();
        let pending = self.submissions.get_mut(&request);
        if let Some(accepted) = pending.and_then(|pending| pending.accepted.take()) {
            accepted.send(outcome).unwrap_or_default();
        }
        if refused {
            self.submissions.remove(&request);
        }
    }

    /// Answers a submission that is on the disk.
    pub(crate) fn on_stored(&mut self, request: RequestId) {
        if let Some(pending) = self.submissions.remove(&request) {
            pending.stored.send(()).unwrap_or_default();
        }
    }

    /// Answers a broadcast.
    pub(crate) fn on_broadcast(&mut self, request: RequestId, receipt: BroadcastReceipt) {
        if let Some(reply) = self.broadcasts.remove(&request) {
            reply.send(receipt).unwrap_or_default();
        }
    }

    /// Passes an offer to a search. Its channel has room for all offers that the core lets through.
    pub(crate) fn on_offer(&mut self, found: Found, by: NamedBy) {
        if let Some(answers) = self.searches.get(&found.id) {
            answers.try_send(SearchAnswer::Offer(found, by)).unwrap_or_default();
        }
    }

    /// Ends a search.
    pub(crate) fn on_search_over(&mut self, search: SearchId, end: SearchEnd) {
        if let Some(answers) = self.searches.remove(&search) {
            answers.try_send(SearchAnswer::Over(end)).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::transaction::TransactionId;

    use super::*;

    #[test]
    fn a_submission_is_answered_twice_unless_it_is_refused() {
        let mut requests = PendingRequests::default();
        let submit = |requests: &mut PendingRequests| {
            let ((accepted, outcome), (stored, kept)) = (oneshot::channel(), oneshot::channel());
            (requests.submit(accepted, stored), outcome, kept)
        };
        let (taken, mut taken_outcome, mut taken_stored) = submit(&mut requests);
        let (refused, mut refused_outcome, mut refused_stored) = submit(&mut requests);
        assert_ne!(taken, refused);
        requests.on_submitted(taken, Ok(Submission { id: TransactionId([1; 32]), links: 2, duplicate: false }));
        requests.on_submitted(refused, Err("for the test".into()));
        assert!(taken_outcome.try_recv().expect("answered").is_ok() && taken_stored.try_recv().is_err());
        assert!(refused_outcome.try_recv().expect("answered").is_err());
        assert_eq!(refused_stored.try_recv(), Err(oneshot::error::TryRecvError::Closed), "it will never be stored");
        requests.on_stored(taken);
        assert_eq!(taken_stored.try_recv(), Ok(()));
        assert!(requests.submissions.is_empty());
    }

    #[test]
    fn a_search_gets_answers_until_it_is_over_or_ended() {
        let mut requests = PendingRequests::default();
        let (sender, mut answers) = mpsc::channel(1);
        let (over, ended) = (SearchId([1; 16]), SearchId([2; 16]));
        requests.search(over, sender.clone());
        requests.search(ended, sender);
        requests.end_search(ended);
        requests.on_search_over(ended, SearchEnd::Deadline);
        assert!(answers.try_recv().is_err(), "its requester wants no more answers");
        requests.on_search_over(over, SearchEnd::Deadline);
        assert!(matches!(answers.try_recv(), Ok(SearchAnswer::Over(SearchEnd::Deadline))));
        assert!(requests.searches.is_empty());
    }
}
