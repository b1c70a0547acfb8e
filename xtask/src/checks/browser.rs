//! The tests of the page in Chromium, driven by playwright-core, alone and behind nginx.
//!
//! Few machines have these programs, so they are fetched where that is allowed, and otherwise
//! reported as missing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use meshpool::binary::system;

use crate::support::cargo::{build_node, finish};
use crate::support::debian::{self, apt_get, succeeds};
use crate::support::npm;
use crate::support::terminal::print;
use crate::support::workspace::Workspace;

/// A program that the tests call.
struct Program {
    name: &'static str,
    /// The variable that names another one than the first in PATH.
    variable: &'static str,
    files: &'static [&'static str],
    remedy: &'static str,
}

const CHROMIUM: Program = Program {
    name: "Chromium",
    variable: "CHROMIUM",
    files: &["chromium", "chromium-browser", "google-chrome"],
    remedy: "install Chromium (Debian: apt-get install chromium), or name the program in CHROMIUM",
};
const NGINX: Program = Program {
    name: "nginx",
    variable: "NGINX",
    files: &["nginx"],
    remedy: "install nginx (Debian: apt-get install nginx), or name the program in NGINX",
};
/// Where services are that the PATH of most users does not have.
const SERVICES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Runs the tests. Without Chromium they are skipped with a message, and without nginx those that
/// need it; in CI, where nobody reads that, this fails.
pub(crate) fn test(root: &Path) -> Result<()> {
    let folder = root.join("browser");
    let Some(chromium) = CHROMIUM.find().or_else(install_chromium) else { return CHROMIUM.missing() };
    let nginx = NGINX.find().or_else(|| unpack_nginx(&root.join("target/nginx")));
    if nginx.is_none() {
        NGINX.missing()?;
    }
    npm::install(&folder)?;
    let node = build_node(&Workspace::find(Some(root))?, false)?;
    let mut command = system::script("npm");
    command.args(["test", "--silent"]).current_dir(&folder).env("CHROMIUM", chromium).env("P2P_NODE", node);
    if let Some(nginx) = nginx {
        command.env("NGINX", nginx);
    }
    finish(&mut command, "npm test --silent")
}

impl Program {
    fn find(&self) -> Option<PathBuf> {
        if let Some(named) = std::env::var_os(self.variable).filter(|named| !named.is_empty()) {
            return Some(named.into());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(SERVICES.map(PathBuf::from))
            .flat_map(|folder| self.files.iter().map(move |file| folder.join(file)))
            .find(|program| program.is_file())
    }

    fn missing(&self) -> Result<()> {
        let Self { name, remedy, .. } = self;
        ensure!(std::env::var_os("CI").is_none(), "{name} is missing: {remedy}");
        print(format!("skipped, since {name} is missing: {remedy}"))?;
        Ok(())
    }
}

/// Installs the package of Debian, where apt-get is allowed to.
fn install_chromium() -> Option<PathBuf> {
    debian::install("chromium").then(|| CHROMIUM.find()).flatten()
}

/// Unpacks the package of Debian into a folder. Installing it would start a server on port 80.
fn unpack_nginx(folder: &Path) -> Option<PathBuf> {
    let program = folder.join("usr/sbin/nginx");
    let runs = || succeeds(program.to_str()?, &["-v"], folder).then(|| program.clone());
    if program.is_file() {
        return runs();
    }
    fs::create_dir_all(folder).ok()?;
    if !apt_get(&["download", "nginx"], folder) {
        return None;
    }
    let packages = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let package = packages.filter(|name| name.starts_with("nginx_") && name.ends_with(".deb")).max()?;
    succeeds("dpkg-deb", &["--extract", &package, "."], folder).then(runs).flatten()
}
