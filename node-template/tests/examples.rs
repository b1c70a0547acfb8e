//! The examples, each as three processes.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long anything may take that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running example.
struct Example {
    name: String,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Where it can be dialled.
    address: String,
}

/// Where cargo puts the examples of this build. They are built here: `--test examples` does not.
fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        // target/<profile>/deps/examples-…
        let profile = own.parent().unwrap().parent().unwrap().to_owned();
        let mut build = std::process::Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "meshpool", "--examples"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        build.env("CARGO_TARGET_DIR", profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        // A test that was built for another system runs where there is no cargo.
        let built = build.status().map(|status| status.success());
        assert!(
            built.as_ref().is_ok_and(|done| *done) || built.is_err() && cfg!(windows),
            "the examples build: {built:?}"
        );
        profile.join("examples")
    });
    folder.join(name)
}

impl Example {
    async fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let output = BufReader::new(output).lines();
        let mut example = Self { name: name.to_owned(), child, input, output, address: String::new() };
        let first = example.line(|line| line.starts_with("node ")).await;
        example.address = first.rsplit(' ').next().unwrap().to_owned();
        example
    }

    async fn say(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits for a line.
    async fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let mut seen = Vec::new();
        let found = timeout(PATIENCE, async {
            loop {
                let line = self.output.next_line().await.unwrap().unwrap_or_else(|| panic!("{} ended", self.name));
                if wanted(&line) {
                    return line;
                }
                seen.push(line);
            }
        });
        match found.await {
            Ok(line) => line,
            Err(_) => panic!("{}: not among {seen:#?}", self.name),
        }
    }

    async fn says(&mut self, begin: &str) -> String {
        self.line(|line| line.starts_with(begin)).await
    }

    /// Ends it as a person does, by the end of the input.
    async fn end(mut self) {
        drop(self.input);
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
    }
}

#[tokio::test]
async fn a_blockchain_grows_on_all_nodes_and_is_replayed_and_asked_for() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut one = Example::start("blockchain", &[&at("one")]).await;
    let mut two = Example::start("blockchain", &[&at("two"), &one.address]).await;
    one.say("mine first").await;
    two.says("head 1 ").await;
    two.say("mine second").await;
    one.says("head 2 ").await;
    one.say("mine third").await;
    let head = two.says("head 3 ").await;
    // A late joiner gets the past, in whatever order it comes.
    let mut three = Example::start("blockchain", &[&at("three"), &one.address]).await;
    assert_eq!(three.says("head 3 ").await, head);
    three.say("block 2").await;
    let block = three.says("block ").await;
    assert!(block.contains(r#""text":"second""#) && block.contains(r#""height":2"#), "{block}");
    three.say("block 4").await;
    three.line(|line| line.contains("no such block")).await;
    // What is in its file is replayed, and goes on.
    two.end().await;
    let mut two = Example::start("blockchain", &[&at("two"), &one.address]).await;
    assert_eq!(two.says("head 3 ").await, head);
    two.say("mine fourth").await;
    for node in [one, three] {
        let mut node = node;
        node.says("head 4 ").await;
        node.end().await;
    }
    two.end().await;
}

#[tokio::test]
async fn a_chat_stays_in_its_rooms_and_tells_late_comers_the_past() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut ann = Example::start("chat", &[&at("ann"), "ann", "garden"]).await;
    let mut bob = Example::start("chat", &[&at("bob"), "bob", "garden,kitchen", &ann.address]).await;
    ann.say("garden hello").await;
    bob.says("[garden] ann: hello").await;
    bob.say("kitchen soup").await;
    bob.says("[kitchen] bob: soup").await;
    bob.say("garden hello").await;
    assert_eq!(ann.says("[").await, "[garden] ann: hello");
    assert_eq!(ann.says("[").await, "[garden] bob: hello", "the kitchen is not hers");
    let mut eve = Example::start("chat", &[&at("eve"), "eve", "kitchen", &ann.address]).await;
    assert_eq!(eve.says("[").await, "[kitchen] bob: soup");
    eve.say("garden hello").await;
    eve.says("(no room").await;
    for node in [ann, bob, eve] {
        node.end().await;
    }
}

#[tokio::test]
async fn a_counter_has_one_value_on_all_nodes_also_after_one_was_away() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut one = Example::start("counter", &[&at("one")]).await;
    let mut two = Example::start("counter", &[&at("two"), &one.address]).await;
    one.say("+5").await;
    two.says("value 5").await;
    two.say("-2").await;
    one.says("value 3").await;
    let mut three = Example::start("counter", &[&at("three"), &one.address]).await;
    three.says("value 3").await;
    two.end().await;
    three.say("+10").await;
    one.says("value 13").await;
    // It knows what it said, and learns what it missed.
    let mut two = Example::start("counter", &[&at("two"), &one.address]).await;
    two.says("value 13").await;
    two.say("-3").await;
    for node in [one, two, three] {
        let mut node = node;
        node.says("value 10").await;
        node.end().await;
    }
}
