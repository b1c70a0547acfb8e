//! The rates of requests, for each client and for each kind of request.
//!
//! What passed all checks is charged apart from what did not, and health checks apart from both. So
//! neither a stranger who guesses tokens nor a program that reads the metrics in a loop takes
//! another's answers. All strangers together have one more limit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use meshpool_proto::util::generations::Generations;
use meshpool_proto::util::rate_limit::RateLimit;

use crate::http::client::Client;
use crate::http::limits::{
    CHANGES, CLIENTS, HEALTH_CHECKS, METRICS, REQUESTS, REQUESTS_OF_A_STRANGER, REQUESTS_OF_STRANGERS, Rate,
};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// `/healthz` and `/readyz`.
    Health,
    /// The page's files, for which no token is needed.
    Page,
    /// It was refused.
    Refused,
    Metrics,
    Api,
    /// A request to the API that changes something; charged as [`Self::Api`] too.
    Change,
}

impl Kind {
    fn rate(self, client: Client) -> Rate {
        match self {
            Self::Health => HEALTH_CHECKS,
            Self::Page | Self::Refused if client != Client::Local => REQUESTS_OF_A_STRANGER,
            Self::Page | Self::Refused | Self::Api => REQUESTS,
            Self::Metrics => METRICS,
            Self::Change => CHANGES,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Rates(Mutex<Limits>);

#[derive(Debug)]
struct Limits {
    of_each: Generations<(Client, Kind), RateLimit>,
    of_strangers: RateLimit,
    health_checks_of_strangers: RateLimit,
}

impl Default for Rates {
    fn default() -> Self {
        Self(Mutex::new(Limits {
            of_each: Generations::new(CLIENTS),
            of_strangers: RateLimit::default(),
            health_checks_of_strangers: RateLimit::default(),
        }))
    }
}

impl Rates {
    /// Returns whether a client may send a request of this kind now, and counts it.
    pub(crate) fn allows(&self, client: Client, kind: Kind) -> bool {
        self.allows_at(Instant::now(), client, kind)
    }

    fn allows_at(&self, now: Instant, client: Client, kind: Kind) -> bool {
        // Each change is one assignment.
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_within = spend(limits.of_each.entry(now, &(client, kind)), now, kind.rate(client));
        is_within
            && match kind {
                _ if client == Client::Local => true,
                Kind::Health => spend(&mut limits.health_checks_of_strangers, now, HEALTH_CHECKS),
                Kind::Page | Kind::Refused => spend(&mut limits.of_strangers, now, REQUESTS_OF_STRANGERS),
                Kind::Metrics | Kind::Api | Kind::Change => true,
            }
    }
}

fn spend(limit: &mut RateLimit, now: Instant, (per_second, burst): Rate) -> bool {
    let interval = Duration::from_secs(1) / per_second;
    limit.spend(now, interval, interval * burst).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(third: u8, last: u8) -> Client {
        Client::of([198, 51, third, last].into())
    }

    #[test]
    fn each_client_and_each_kind_has_a_limit_of_its_own() {
        let (rates, now) = (Rates::default(), Instant::now());
        let (owner, stranger) = (remote(0, 1), remote(0, 2));
        while rates.allows_at(now, stranger, Kind::Refused) {}
        assert!(rates.allows_at(now, stranger, Kind::Health), "health checks are charged apart");
        assert!(rates.allows_at(now, stranger, Kind::Api), "behind one address with the owner");
        for kind in [Kind::Health, Kind::Page, Kind::Metrics, Kind::Api, Kind::Change] {
            assert!(rates.allows_at(now, owner, kind), "{kind:?}");
        }
        while rates.allows_at(now, Client::Local, Kind::Metrics) {}
        assert!(rates.allows_at(now, Client::Local, Kind::Api) && rates.allows_at(now, owner, Kind::Metrics));
        let later = now + Duration::from_secs(1);
        assert!(rates.allows_at(later, stranger, Kind::Refused), "and is filled again");
    }

    #[test]
    fn all_strangers_together_have_a_limit_that_does_not_touch_the_others() {
        let (rates, now) = (Rates::default(), Instant::now());
        let allowed = (0..=u8::MAX).flat_map(|third| (0..=u8::MAX).map(move |last| remote(third, last)));
        let allowed = allowed.filter(|client| rates.allows_at(now, *client, Kind::Refused)).count();
        assert_eq!(allowed, REQUESTS_OF_STRANGERS.1 as usize);
        assert!(rates.allows_at(now, remote(0, 1), Kind::Health), "health checks are charged apart");
        assert!(rates.allows_at(now, remote(0, 1), Kind::Api) && rates.allows_at(now, Client::Local, Kind::Page));
    }
}
