//! Programs of Debian's packages, which are installed where that is allowed.

use std::path::Path;
use std::process::{Command, Stdio};

#[cfg(target_os = "linux")]
use anyhow::{Result, ensure};

/// A program that some tasks call.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// An argument with which it does nothing and ends with success.
    pub(crate) argument: &'static str,
    /// The package of Debian that has it.
    pub(crate) package: &'static str,
}

#[cfg(target_os = "linux")]
impl Program {
    /// Whether it can be called.
    pub(crate) fn is_there(&self) -> bool {
        succeeds(self.name, &[self.argument], Path::new("."))
    }

    /// Checks that it can be called.
    ///
    /// # Errors
    /// It cannot; in one line.
    pub(crate) fn check(&self) -> Result<()> {
        let Self { name, package, .. } = self;
        ensure!(self.is_there(), "{name} is missing: install {package} (Debian: apt-get install {package})");
        Ok(())
    }

    /// Checks that it can be called, and installs its package if it cannot and apt-get is allowed
    /// to.
    ///
    /// # Errors
    /// It is still missing; in one line.
    pub(crate) fn provide(&self) -> Result<()> {
        if !self.is_there() {
            install(self.package);
        }
        self.check()
    }
}

/// Installs a package of Debian. Returns whether that worked: it needs root and apt-get.
pub(crate) fn install(package: &str) -> bool {
    apt_get(&["install", "--yes", "--no-install-recommends", package], Path::new("."))
}

/// Calls apt-get, again after an update: the package lists may be outdated or missing.
pub(crate) fn apt_get(arguments: &[&str], folder: &Path) -> bool {
    let get = |arguments: &[&str]| succeeds("apt-get", arguments, folder);
    get(arguments) || get(&["update"]) && get(arguments)
}

/// Runs a program without words and questions.
pub(crate) fn succeeds(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
