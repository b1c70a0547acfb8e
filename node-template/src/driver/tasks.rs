//! The driver's tasks. Each link has one; everything else that takes time is a background task: a
//! dial, a probe, a replay, a look into the folder of images.

use std::collections::HashMap;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::{LinkId, UpgradeIdentity};
use meshpool_proto::wire::{ImageInfo, SearchId};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use crate::transport::websocket::dialer::{Dialled, NotDialled, NotProbed};

/// The cause that is given when a panic ends a dial or a link.
pub(crate) const PANICKED: &str = "a fault of this program";

/// The result of a background task.
pub(crate) enum Outcome {
    Dialled {
        address: PeerAddress,
        result: Result<Box<Dialled>, NotDialled>,
    },
    Probed {
        link: LinkId,
        address: PeerAddress,
        /// The identity that answered, and whether it proves its id. `Err`: nothing was found out.
        result: Result<(Option<UpgradeIdentity>, bool), NotProbed>,
    },
    /// `position`: behind the last transaction that was sent; `None` if the link ended first.
    Replayed {
        link: LinkId,
        position: Option<u64>,
    },
    /// The positions that a link asked for were sent.
    PositionsSent {
        link: LinkId,
    },
    /// As [`Self::Replayed`], in a topic.
    TopicReplayed {
        topic: usize,
        link: LinkId,
        position: Option<u64>,
    },
    /// As [`Self::PositionsSent`], in a topic.
    TopicPositionsSent {
        topic: usize,
        link: LinkId,
    },
    /// A relay was looked up, and noted if there is room.
    RelayLearned,
    LookedUp {
        search: SearchId,
        images: Vec<ImageInfo>,
    },
}

/// How a task ended.
pub(crate) enum Ended {
    Done(Outcome),
    /// A background task panicked; with the outcome that was given for this case.
    Panicked(Outcome),
    /// The task of a link panicked.
    LinkPanicked(LinkId),
}

/// The tasks that run.
#[derive(Default)]
pub(crate) struct TaskSet {
    links: JoinSet<()>,
    /// The link of each task in `links`, so a panic ends only that link.
    link_of: HashMap<Id, LinkId>,
    background: JoinSet<Outcome>,
    /// The outcome of each task in `background` if it panics.
    if_panicked: HashMap<Id, Outcome>,
}

impl TaskSet {
    /// Starts the task of a link.
    pub(crate) fn spawn_link(&mut self, link: LinkId, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.links.spawn(task);
        self.link_of.insert(handle.id(), link);
    }

    /// Starts a background task.
    pub(crate) fn spawn(
        &mut self,
        if_panicked: Outcome,
        task: impl Future<Output = Outcome> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.background.spawn(task);
        self.if_panicked.insert(handle.id(), if_panicked);
        handle
    }

    /// Waits for the next task to end. Tasks of links that end by themselves, and aborted tasks,
    /// are passed over. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Ended {
        loop {
            let ended = tokio::select! {
                Some(ended) = self.links.join_next_with_id() => self.on_link_ended(ended),
                Some(ended) = self.background.join_next_with_id() => self.on_background_ended(ended),
                else => std::future::pending().await,
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn on_link_ended(&mut self, ended: Result<(Id, ()), JoinError>) -> Option<Ended> {
        match ended {
            Ok((id, ())) => {
                self.link_of.remove(&id);
                None
            }
            Err(error) => {
                tracing::error!("a link's task ended in a fault of this program: {error}");
                self.link_of.remove(&error.id()).map(Ended::LinkPanicked)
            }
        }
    }

    fn on_background_ended(&mut self, ended: Result<(Id, Outcome), JoinError>) -> Option<Ended> {
        match ended {
            Ok((id, outcome)) => {
                self.if_panicked.remove(&id);
                Some(Ended::Done(outcome))
            }
            Err(error) => {
                let outcome = self.if_panicked.remove(&error.id());
                if error.is_cancelled() {
                    return None;
                }
                tracing::error!("a background task ended in a fault of this program: {error}");
                outcome.map(Ended::Panicked)
            }
        }
    }

    /// Aborts all background tasks, and waits for none.
    pub(crate) fn abort_background(&mut self) {
        self.background.abort_all();
    }

    /// Waits until the tasks of all links have ended. Cancel-safe.
    pub(crate) async fn links_ended(&mut self) {
        while self.links.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(7);

    #[tokio::test]
    async fn a_panic_gives_the_outcome_that_was_named_for_it_and_an_abort_gives_none() {
        let mut tasks = TaskSet::default();
        let failed = || Outcome::Replayed { link: LINK, position: None };
        tasks.spawn(failed(), std::future::pending()).abort();
        tasks.spawn(failed(), async { panic!("for the test") });
        assert!(matches!(tasks.next().await, Ended::Panicked(Outcome::Replayed { link: LINK, position: None })));
        tasks.spawn(failed(), async { Outcome::Replayed { link: LINK, position: Some(3) } });
        assert!(matches!(tasks.next().await, Ended::Done(Outcome::Replayed { position: Some(3), .. })));
        assert!(tasks.if_panicked.is_empty());
    }

    #[tokio::test]
    async fn only_the_panic_of_a_link_is_reported() {
        let mut tasks = TaskSet::default();
        tasks.spawn_link(LinkId(1), async {});
        tasks.spawn_link(LINK, async { panic!("for the test") });
        assert!(matches!(tasks.next().await, Ended::LinkPanicked(LINK)));
        tasks.links_ended().await;
    }
}
