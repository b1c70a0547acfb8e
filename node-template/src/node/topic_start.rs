//! Opens the declared topics, and gives each to the core, the driver and the handle.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshpool_proto::topic_name::TopicName;
use meshpool_proto::{HeldItem, Node as Core, TopicSettings};

use crate::driver::topics::{TopicReports, Topics};
use crate::node::declared::{Checks, Declared};
use crate::node::topic_config::TopicConfig;
use crate::pool::{self, Lock, Opened, PoolError};
use crate::signing::validator::Validator;
use crate::util::panics::Panics;
use crate::util::time_of_day::time_of_day;

/// A declared topic, with its file if it has one.
pub(crate) struct OpenedTopic {
    name: TopicName,
    config: TopicConfig,
    opened: Option<Opened>,
}

impl OpenedTopic {
    /// Opens the files of the topics that have one. It may take as long as reading them.
    ///
    /// # Errors
    /// As [`pool::open`].
    pub(crate) async fn open_all(
        folder: PathBuf,
        lock: Lock,
        declared: Vec<(TopicName, TopicConfig)>,
    ) -> Result<Vec<Self>, PoolError> {
        if declared.is_empty() {
            return Ok(Vec::new());
        }
        let open =
            move || declared.into_iter().map(|(name, config)| Self::open(&folder, &lock, name, config)).collect();
        tokio::task::spawn_blocking(open).await.map_err(|_| PoolError::Closed)?
    }

    fn open(folder: &Path, lock: &Lock, name: TopicName, config: TopicConfig) -> Result<Self, PoolError> {
        let opened = if config.in_memory { None } else { Some(pool::open_topic(folder, lock.clone(), name.as_str())?) };
        for repair in opened.iter().flat_map(|opened| &opened.repairs) {
            tracing::warn!("{repair}");
        }
        Ok(Self { name, config, opened })
    }

    pub(crate) fn name(&self) -> &TopicName {
        &self.name
    }

    /// As [`Validator::count_panics`].
    pub(crate) fn count_panics(&mut self, panics: &Panics) {
        self.config.validator.count_panics(panics);
    }

    pub(crate) fn validator(&self) -> (TopicName, Validator) {
        (self.name.clone(), self.config.validator.clone())
    }

    /// Declares the topic, and returns what the handle has of it, and the node's task.
    pub(crate) fn declare(
        self,
        core: &mut Core,
        topics: &mut Topics,
        reports: &mut TopicReports,
    ) -> (Declared, Arc<Checks>) {
        let Self { name, config, opened } = self;
        let held = opened.iter().flat_map(|opened| {
            let rows = opened.ids.iter().zip(&opened.times).zip(&opened.lengths);
            rows.map(|((id, time), bytes)| HeldItem { id: *id, time: *time, bytes: *bytes })
        });
        let settings = TopicSettings {
            name: name.clone(),
            retention: config.retention.clone(),
            time_of_day: time_of_day() as u64,
            place: format!("{}/{name}.json", pool::TOPICS_FOLDER),
        };
        core.declare_topic(settings, held.collect());
        let by_time = config.retention.is_limited();
        let pool = topics.add(name.clone(), opened, reports, by_time);
        let TopicConfig { validator, rules, .. } = config;
        let checks = Arc::new(Checks { validator, rules });
        let declared = Declared { name: name.to_string(), by_time, checks: Arc::downgrade(&checks), pool };
        (declared, checks)
    }
}
