//! The addresses of the nodes' pages, by the nodes' own rule: HTTP_PORT, or 4000 above the port
//! that a node listens on.

use meshpool::binary::system::unset;

use crate::nodes::up::output::Output;
use crate::support::terminal::strip_control;
use crate::support::workspace::Folder;

/// The setting for a page's port.
pub(crate) const HTTP_PORT: &str = "HTTP_PORT";

/// The distance from a node's port to that of its page, unless HTTP_PORT is set.
const ABOVE_PORT: u16 = 4_000;

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
pub(crate) fn line<'a>(folders: impl Iterator<Item = &'a Folder>, exported_port: Option<&str>) -> Option<String> {
    let pages: Vec<_> = folders.filter_map(|folder| page(folder, exported_port)).collect();
    (!pages.is_empty()).then(|| format!("pages: {}", pages.join(" ")))
}

/// Returns the page of a running node; `None` if it has none, or one on a port that only its log
/// shows.
fn page(folder: &Folder, exported_port: Option<&str>) -> Option<String> {
    let port = match exported_port.map(str::to_owned).or_else(|| folder.setting(HTTP_PORT)) {
        Some(port) => port.parse().ok()?,
        None => folder.address().ok()?.port().checked_add(ABOVE_PORT)?,
    };
    let host = exported("HTTP_HOST").or_else(|| folder.setting("HTTP_HOST"));
    url(host.as_deref().unwrap_or("localhost"), port)
}

/// Returns an exported variable, which overrides the nodes' own settings.
fn exported(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn url(host: &str, port: u16) -> Option<String> {
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        // An address for all interfaces includes this machine's.
        "0.0.0.0" | "::" => "localhost".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    (port != 0).then(|| format!("http://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_where_a_browser_here_finds_it() {
        assert_eq!(url("localhost", 8_001).as_deref(), Some("http://localhost:8001"));
        assert_eq!(url("0.0.0.0", 8_001).as_deref(), Some("http://localhost:8001"));
        assert_eq!(url("[::]", 8_001).as_deref(), Some("http://localhost:8001"));
        assert_eq!(url("::1", 8_001).as_deref(), Some("http://[::1]:8001"));
        assert_eq!(url("localhost", 0), None, "it is off");
    }
}
