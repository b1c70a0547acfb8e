//! The addresses of the nodes' pages, as each node writes its own down, and the port that is
//! exported for them.

use meshpool::binary::system::unset;

use crate::nodes::up::output::Output;
use crate::support::terminal::strip_control;
use crate::support::workspace::Folder;

/// The setting for a page's port.
pub(crate) const HTTP_PORT: &str = "HTTP_PORT";

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

/// Returns a line with the pages of these nodes; `None` if no node has one.
pub(crate) fn line<'a>(folders: impl Iterator<Item = &'a Folder>) -> Option<String> {
    // Only the node knows it: another program may have the default port.
    let pages: Vec<_> = folders.filter_map(|folder| Some(strip_control(&folder.holder()?.page?))).collect();
    (!pages.is_empty()).then(|| format!("pages: {}", pages.join(" ")))
}

/// Returns an exported variable, which overrides the nodes' own settings.
fn exported(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
