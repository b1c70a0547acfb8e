//! `package`: makes a Debian package of the program, with its unit, completions and manual pages.
//!
//! `dpkg-deb` does it, which every Debian has. The package has no scripts: the unit makes its user
//! and its folder when it starts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::support::cargo::build_node;
use crate::support::terminal::print;
use crate::support::workspace::Workspace;

/// The fields of the package, with NAMES in place of what differs.
const CONTROL: &str = "packaging/debian/control";
const UNIT: &str = "packaging/systemd/meshpool.service";
const COPYRIGHT: &str = "packaging/debian/copyright";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Package this program instead of building it, optimised
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Write the package into this folder
    #[arg(long, value_name = "FOLDER", default_value = "target/debian")]
    output: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build_node(workspace, true)?,
    };
    let package = make(workspace.root(), &binary, &arguments.output)?;
    print(format!("made {}", package.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the package of a program in a folder, and returns its path.
pub(crate) fn make(root: &Path, binary: &Path, output: &Path) -> Result<PathBuf> {
    let binary = binary.canonicalize().with_context(|| format!("{} cannot be opened", binary.display()))?;
    let answers = |arguments: &[&str]| {
        let answer = read(Command::new(&binary).args(arguments))?;
        String::from_utf8(answer).context("the program's answer is no text")
    };
    let version = answers(&["--version"])?;
    let version = version.trim().strip_prefix("meshpool ").context("the program is not meshpool")?.to_owned();
    let architecture = String::from_utf8(read(Command::new("dpkg").arg("--print-architecture"))?)?.trim().to_owned();
    fs::create_dir_all(output).with_context(|| format!("{} cannot be made", output.display()))?;
    let staged = tempfile::tempdir_in(output).with_context(|| format!("{} takes no folder", output.display()))?;
    let tree = staged.path().join("tree");
    let put = |path: &str, content: &[u8], mode: u32| -> Result<()> {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        let mut file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        file.write_all(content)?;
        Ok(file.set_permissions(fs::Permissions::from_mode(mode))?)
    };
    let copied = |name: &str| fs::read(root.join(name)).with_context(|| format!("{name} cannot be read"));
    let program = fs::read(&binary)?;
    put("usr/bin/meshpool", &program, 0o755)?;
    put("usr/lib/systemd/system/meshpool.service", &copied(UNIT)?, 0o644)?;
    put("usr/share/doc/meshpool/copyright", &copied(COPYRIGHT)?, 0o644)?;
    put("usr/share/doc/meshpool/changelog.gz", &compressed(&copied("CHANGELOG.md")?)?, 0o644)?;
    for (shell, path) in [
        ("bash", "usr/share/bash-completion/completions/meshpool"),
        ("zsh", "usr/share/zsh/vendor-completions/_meshpool"),
        ("fish", "usr/share/fish/vendor_completions.d/meshpool.fish"),
    ] {
        put(path, answers(&["completions", shell])?.as_bytes(), 0o644)?;
    }
    let manual = staged.path().join("man");
    fs::create_dir(&manual)?;
    answers(&["man", "--output", manual.to_str().context("a path in UTF-8")?])?;
    for page in fs::read_dir(&manual)? {
        let page = page?;
        let name = page.file_name().into_string().ok().context("a name in UTF-8")?;
        put(&format!("usr/share/man/man1/{name}.gz"), &compressed(&fs::read(page.path())?)?, 0o644)?;
    }
    let control = String::from_utf8(copied(CONTROL)?)?
        .replace("VERSION", &version)
        .replace("ARCHITECTURE", &architecture)
        .replace("DEPENDS", &needs(&program))
        .replace("SIZE", &(program.len() / 1_024).to_string());
    put("DEBIAN/control", control.as_bytes(), 0o644)?;
    // The folders have the mode that the caller's umask gives, which may keep others out.
    modes(&tree)?;
    let package = output.join(format!("meshpool_{version}_{architecture}.deb"));
    read(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&package))?;
    Ok(package)
}

fn modes(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            modes(&entry.path())?;
        }
    }
    Ok(())
}

/// Returns the packages that a program needs: the C library of at least the version whose symbols
/// it names, and the library that unwinds.
fn needs(program: &[u8]) -> String {
    let newest = program
        .windows(8)
        .enumerate()
        .filter(|(_, bytes)| *bytes == b"GLIBC_2.")
        .filter_map(|(at, _)| {
            let digits = program[at + 8..].iter().take_while(|byte| byte.is_ascii_digit());
            String::from_utf8(digits.copied().collect()).ok()?.parse::<u32>().ok()
        })
        .max();
    let mut needs: Vec<_> = newest.map(|minor| format!("libc6 (>= 2.{minor})")).into_iter().collect();
    if program.windows(13).any(|bytes| bytes == b"libgcc_s.so.1") {
        needs.push("libgcc-s1".to_owned());
    }
    needs.join(", ")
}

/// Compresses as `gzip -9n`: without name and time, so that equal content gives equal bytes.
fn compressed(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip");
    let gzip = gzip.args(["-9", "-n", "--stdout"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gzip = gzip.spawn().context("gzip cannot be started; install it")?;
    let mut input = gzip.stdin.take().context("a pipe")?;
    let content = content.to_owned();
    // It writes while it reads.
    let writer = std::thread::spawn(move || input.write_all(&content));
    let output = gzip.wait_with_output()?;
    writer.join().expect("writing does not panic")?;
    ensure!(output.status.success(), "gzip ended with {}", output.status);
    Ok(output.stdout)
}

fn read(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("{name} cannot be started; is it installed?"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} ended with {}: {}", output.status, said.trim());
    Ok(output.stdout)
}

/// Makes the package of a program, installs it into an empty root, and asks what is installed.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let binary = build_node(workspace, false)?;
    let folder = tempfile::tempdir()?;
    let package = make(workspace.root(), &binary, folder.path())?;
    let root = folder.path().join("root");
    let unpack = |arguments: &[&str]| read(Command::new("dpkg-deb").args(arguments).arg(&package));
    let listed = String::from_utf8(unpack(&["--contents"])?)?;
    ensure!(listed.lines().all(|line| line.contains(" root/root ")), "a file is not root's: {listed}");
    install(&package, &root)?;
    let installed = root.join("usr/bin/meshpool");
    let asked = |program: &Path| read(Command::new(program).arg("--version"));
    ensure!(asked(&installed)? == asked(&binary)?, "the installed program is another one");
    for file in [
        "usr/lib/systemd/system/meshpool.service",
        "usr/share/man/man1/meshpool.1.gz",
        "usr/share/man/man1/meshpool-run.1.gz",
        "usr/share/bash-completion/completions/meshpool",
        "usr/share/zsh/vendor-completions/_meshpool",
        "usr/share/fish/vendor_completions.d/meshpool.fish",
        "usr/share/doc/meshpool/copyright",
    ] {
        ensure!(root.join(file).metadata().is_ok_and(|found| found.len() > 0), "{file} is missing or empty");
    }
    print(format!("{} installs into an empty root", package.file_name().unwrap_or_default().display()))?;
    Ok(())
}

/// Installs a package into an empty root. What it depends on is not there, and not asked for.
pub(crate) fn install(package: &Path, root: &Path) -> Result<()> {
    let state = root.join("var/lib/dpkg");
    for folder in ["info", "updates", "triggers"] {
        fs::create_dir_all(state.join(folder))?;
    }
    fs::write(state.join("status"), "")?;
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.display())).args(["--force-depends", "--force-not-root", "--log=/dev/null"]);
    read(dpkg.arg("--install").arg(package))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_the_newest_library_that_it_names() {
        assert_eq!(needs(b"..GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0..libgcc_s.so.1.."), "libc6 (>= 2.34), libgcc-s1");
        assert_eq!(needs(b"a static program"), "");
    }

    #[test]
    fn a_package_has_what_a_system_needs_and_installs() {
        let folder = tempfile::tempdir().expect("a folder");
        // Stands for the program, which another step builds.
        let program = folder.path().join("program");
        let script = "#!/bin/sh\ncase $1 in\n--version) echo meshpool 1.2.3+abc ;;\n\
                      man) echo .TH meshpool 1 > $3/meshpool.1 ;;\n*) echo $* ;;\nesac\n";
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let package = make(root, &program, &folder.path().join("out")).expect("made");
        let name = package.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with("meshpool_1.2.3+abc_"), "{name}");
        assert_eq!(fs::read_dir(folder.path().join("out")).expect("read").count(), 1, "nothing else is left");
        let control = read(Command::new("dpkg-deb").arg("--info").arg(&package).arg("control")).expect("read");
        let control = String::from_utf8(control).expect("text");
        for left in ["VERSION", "ARCHITECTURE", "DEPENDS", "SIZE"] {
            assert!(!control.contains(left), "{control}");
        }
        let installed = folder.path().join("root");
        install(&package, &installed).expect("installed");
        assert_eq!(fs::read_to_string(installed.join("usr/bin/meshpool")).expect("read"), script);
        let completion = installed.join("usr/share/bash-completion/completions/meshpool");
        assert_eq!(fs::read_to_string(completion).expect("read"), "completions bash\n");
    }
}
