//! The addresses of the nodes' pages, as each node writes its own down, and the port that is
//! exported for them.

use std::time::Duration;

use meshpool::binary::system::unset;
use tokio::time::{Instant, sleep};

use crate::nodes::up::mesh::Live;
use crate::nodes::up::output::Output;
use crate::support::terminal::strip_control;
use crate::support::workspace::Folder;

/// The setting for a page's port.
pub(crate) const HTTP_PORT: &str = "HTTP_PORT";
/// How long a node that answers may take to write down where its page is.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// How often that is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Returns the HTTP_PORT that is exported in this shell, if the nodes can use it: two nodes cannot
/// share a port, but all can have none.
pub(crate) fn exported_port(nodes: usize, output: &Output) -> Option<String> {
    let port = exported(HTTP_PORT)?;
    if nodes < 2 || port == "0" {
        return Some(port);
    }
    output.print(&format!(
        "{HTTP_PORT}={} is exported in this shell, and {nodes} nodes cannot share a port: it is ignored, and each node has its own page; {} to avoid this message",
        strip_control(&port),
        unset(HTTP_PORT)
    ));
    None
}

/// Returns a line with the pages of the nodes that run; `None` if no node has one. A node answers
/// before it has written its page down, so this waits a moment. `exported`: see [`exported_port`].
pub(crate) async fn line(live: &Live, exported: Option<&str>) -> Option<String> {
    let until = Instant::now() + WRITTEN_WITHIN;
    loop {
        let folders: Vec<Folder> = live.borrow().values().cloned().collect();
        let (mut pages, mut is_missing) = (Vec::new(), false);
        for folder in folders {
            // Only the node knows it: another program may have the default port.
            match folder.holder().and_then(|holder| holder.page) {
                Some(page) => pages.push(strip_control(&page)),
                None => is_missing |= may_have_page(&folder, exported),
            }
        }
        if !is_missing || Instant::now() >= until {
            return (!pages.is_empty()).then(|| format!("pages: {}", pages.join(" ")));
        }
        sleep(INTERVAL).await;
    }
}

fn may_have_page(folder: &Folder, exported: Option<&str>) -> bool {
    let port = exported.map(str::to_owned).or_else(|| folder.setting(HTTP_PORT));
    port.is_none_or(|port| port.trim() != "0")
}

/// Returns an exported variable, which overrides the nodes' own settings.
fn exported(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::fs;
    use std::pin::pin;

    use futures_util::poll;
    use meshpool::binary::system::try_lock;

    use super::*;
    use crate::support::workspace::Workspace;

    #[tokio::test]
    async fn the_page_of_a_node_that_answers_before_it_writes_it_down_is_shown() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Workspace::find(Some(root.path())).expect("found").folder(1);
        fs::create_dir(&folder.path).expect("made");
        let lock = folder.path.join("node.lock");
        let _held = try_lock(&lock).expect("free");
        fs::write(&lock, "1\nws://localhost:4001\n").expect("written");
        let live: Live = RefCell::new(BTreeMap::from([(1, folder.clone())]));
        {
            let mut line = pin!(line(&live, None));
            assert!(poll!(&mut line).is_pending(), "it may still come");
            fs::write(&lock, "1\nws://localhost:4001\nhttp://localhost:8001\n").expect("written");
            assert_eq!(line.await.as_deref(), Some("pages: http://localhost:8001"));
        }
        // One without a page keeps nobody waiting.
        fs::write(&lock, "1\nws://localhost:4001\n").expect("written");
        assert!(poll!(pin!(line(&live, Some("0")))).is_ready());
        fs::write(folder.path.join(".env"), "HTTP_PORT=0\n").expect("written");
        assert!(poll!(pin!(line(&live, None))).is_ready());
    }
}
