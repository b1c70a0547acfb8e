//! A node's settings in real folders, and the whole lines of errors and warnings.
#![cfg(feature = "net")]

use std::fs;
use std::path::{Path, PathBuf};

use meshpool::config::{Flags, Settings, SettingsError};
use meshpool::protocol::limits::Limits;
use meshpool::{Discovery, NodeKey};

/// A node's folder with a `.env` of the given text and no known peers.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(env: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join(".env"), env).expect("its .env is written");
        fs::write(folder.path().join("known-peers.json"), "[]").expect("its known peers are written");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn env(&self) -> PathBuf {
        self.path().join(".env")
    }

    /// Reads the settings with these flags and this environment, given as `NAME=value`.
    fn read(&self, flags: &Flags, environment: &[&str]) -> Result<Settings, SettingsError> {
        Settings::read(self.path(), flags, |name| {
            let mut pairs = environment.iter().filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        })
    }

    fn ok(&self) -> Settings {
        self.read(&Flags::default(), &[]).expect("the settings are good")
    }

    /// The error's line, with the folder's path written as `node-2`.
    fn error(&self, flags: &Flags, environment: &[&str]) -> String {
        self.shorten(&self.read(flags, environment).expect_err("the settings are bad").to_string())
    }

    fn warnings(&self, environment: &[&str]) -> Vec<String> {
        let settings = self.read(&Flags::default(), environment).expect("the settings are good");
        settings.warnings.iter().map(|line| self.shorten(line)).collect()
    }

    /// Writes a line as it is on Unix.
    fn shorten(&self, line: &str) -> String {
        assert!(!line.contains('\n'), "one line: {line}");
        let line = line.replace(&self.path().display().to_string(), "node-2").replace("node-2\\", "node-2/");
        let unset = |name| (format!("'Remove-Item Env:{name}' (in cmd: 'set {name}=')"), format!("'unset {name}'"));
        ["PORT", "NAME"].map(unset).iter().fold(line, |line, (windows, unix)| line.replace(windows, unix))
    }
}

fn flags(set: impl FnOnce(&mut Flags)) -> Flags {
    let mut flags = Flags::default();
    set(&mut flags);
    flags
}

const NONE: [&str; 0] = [];

#[test]
fn a_port_is_enough() {
    let folder = Folder::new("PORT=4001\n");
    let settings = folder.ok();
    assert_eq!((settings.port, settings.host.as_str(), settings.network.as_str()), (4001, "localhost", "p2p-node"));
    assert_eq!((settings.address.as_ref(), settings.public_key, settings.known_peers.len()), (None, None, 0));
    assert_eq!((settings.log, settings.limits.clone()), (tracing::Level::INFO, Limits::default()));
    assert_eq!(settings.folder, folder.path());
    assert_eq!(settings.warnings, NONE);
    assert_eq!(settings.advertised(4001).unwrap().to_string(), "ws://localhost:4001");
}

#[test]
fn every_spelling_of_an_env_file_is_read() {
    for env in [
        "PORT=4001\r\nHOST=::1\r\n",
        "\u{feff}PORT=4001\nHOST=[::1]",
        "export PORT='4001'\nexport HOST=\"::1\"",
        "PORT = 4001\nHOST = ::1 # six",
        "PORT=\" 4001 \"\nHOST=::1",
        "# node\n\nOTHER='two words'\nHOST=::1\nPORT=04001",
    ] {
        let settings = Folder::new(env).ok();
        assert_eq!((settings.port, settings.host.as_str()), (4001, "::1"), "{env:?}");
        assert_eq!(settings.warnings, NONE, "{env:?}");
    }
    assert_eq!(Folder::new("PORT=0").ok().port, 0);
    assert_eq!(Folder::new("PORT=65535").ok().port, 65535);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let folder = Folder::new("PORT=4001\nLOG=warn\nNETWORK=file");
    let port = flags(|flags| flags.port = Some("4003".to_owned()));
    let settings = folder.read(&port, &["PORT=4002", "LOG=debug"]).unwrap();
    assert_eq!((settings.port, settings.log, settings.network.as_str()), (4003, tracing::Level::DEBUG, "file"));

    assert_eq!(folder.read(&Flags::default(), &["PORT=4002"]).unwrap().port, 4002);
    assert_eq!(
        folder.warnings(&["PORT=4002", "LOG=warn"]),
        [
            "PORT is 4002 from the environment, which overrides PORT=4001 of node-2/.env; run 'unset PORT' if you did not mean that"
        ]
    );
    assert_eq!(
        folder.read(&Flags::default(), &["NETWORK="]).unwrap().network,
        "p2p-node",
        "an empty one overrides the file's"
    );
}

#[test]
fn where_the_listening_address_came_from_is_kept() {
    let folder = Folder::new("PORT=4001\nHOST=::1");
    let origin = |environment: &[&str]| {
        let settings = folder.read(&Flags::default(), environment).unwrap();
        folder.shorten(&settings.listen_origin)
    };
    assert_eq!(origin(&[]), "PORT node-2/.env, line 1; HOST node-2/.env, line 2");
    assert_eq!(
        origin(&["PORT=4002", "HOST="]),
        "PORT from the environment, which overrides node-2/.env; HOST by default"
    );
}

#[test]
fn an_invalid_port_is_named_with_its_source() {
    let wanted = "a port is a number from 0 to 65535";
    for (port, shown) in [
        ("70000", "70000"),
        ("abc", "abc"),
        ("", "empty"),
        ("-1", "-1"),
        ("+1", "+1"),
        ("4001.0", "4001.0"),
        ("'40 01'", "40 01"),
        ("0x1", "0x1"),
        ("99999999999999999999999", "99999999999999999999999"),
        ("'\u{1b}[31m'", "empty"),
    ] {
        let folder = Folder::new(&format!("# node\nPORT={port}\n"));
        assert_eq!(
            folder.error(&Flags::default(), &[]),
            format!("PORT is {shown} (node-2/.env, line 2): {wanted}; change it there")
        );
    }
    let folder = Folder::new("PORT=4001");
    for (port, shown) in [("70000", "70000"), (" abc ", "abc"), ("", "empty")] {
        assert_eq!(
            folder.error(&Flags::default(), &[&format!("PORT={port}")]),
            format!(
                "PORT is {shown} (from the environment, which overrides node-2/.env): {wanted}; run 'unset PORT' or change it"
            )
        );
        assert_eq!(
            Folder::new("").error(&Flags::default(), &[&format!("PORT={port}")]),
            format!("PORT is {shown} (from the environment): {wanted}; run 'unset PORT' or change it")
        );
        let flag = flags(|flags| flags.port = Some(port.to_owned()));
        assert_eq!(
            folder.error(&flag, &["PORT=4002"]),
            format!("PORT is {shown} (from --port): {wanted}; give --port another value")
        );
        assert!(folder.read(&flag, &[]).unwrap_err().is_usage(), "the command line is at fault");
    }
    assert!(!folder.read(&Flags::default(), &["PORT=x"]).unwrap_err().is_usage());
}

#[test]
fn a_missing_port_names_the_folder_and_the_remedy() {
    let remedy = "write PORT=4001 into it, or make a folder with 'cargo xtask clone-node' or 'meshpool init' and start the node in it";
    for (env, found) in [
        ("", "node-2/.env has no PORT"),
        ("# PORT=4001", "node-2/.env has no PORT"),
        ("HOST=localhost\nPROT=4001", "node-2/.env has PROT in line 2, but no PORT"),
    ] {
        assert_eq!(Folder::new(env).error(&Flags::default(), &[]), format!("PORT is not set: {found}; {remedy}"));
    }
    let folder = Folder::new("");
    fs::remove_file(folder.env()).unwrap();
    assert_eq!(folder.error(&Flags::default(), &[]), format!("PORT is not set: there is no node-2/.env; {remedy}"));
    assert_eq!(folder.read(&Flags::default(), &["PORT=4001"]).unwrap().warnings, NONE, "the file may be missing");
}

#[test]
fn the_env_file_of_a_parent_is_not_read() {
    let parent = Folder::new("PORT=4001");
    let child = parent.path().join("child");
    fs::create_dir(&child).unwrap();
    fs::write(child.join("known-peers.json"), "[]").unwrap();
    assert!(matches!(Settings::read(&child, &Flags::default(), |_| None), Err(SettingsError::NoPort { .. })));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = Folder::new("PORT=4001\nNETWORK=two words\n");
    assert_eq!(
        folder.error(&Flags::default(), &[]),
        "node-2/.env, line 2: this is not NAME=value; correct it (put a value with spaces, quotes or backslashes in single quotes), or put # before it"
    );
    fs::write(folder.env(), [0xff, 0xfe, b'P', 0]).unwrap();
    assert_eq!(folder.error(&Flags::default(), &[]), "node-2/.env is not UTF-8 text: save it as UTF-8");
    fs::remove_file(folder.env()).unwrap();
    fs::create_dir(folder.env()).unwrap();
    assert_eq!(
        folder.error(&Flags::default(), &[]),
        "node-2/.env is not a file: move it away and write a file of that name"
    );

    let gone = Settings::read(&folder.path().join("gone"), &Flags::default(), |_| None).unwrap_err().to_string();
    assert_eq!(
        folder.shorten(&gone),
        "node-2/gone is not a folder: name one that holds a node's .env, or make one with 'cargo xtask clone-node' or 'meshpool init'"
    );
    let folder = Folder::new("PORT=4001");
    fs::remove_file(folder.path().join("known-peers.json")).unwrap();
    assert!(folder.error(&Flags::default(), &[]).starts_with("node-2/known-peers.json is missing: "));
}

#[test]
fn bad_values_say_what_is_wanted() {
    for (setting, line) in [
        (
            "HOST='local host'",
            "HOST is local host (@): a host is a name or an IP address to listen on, such as localhost or 0.0.0.0; change it there",
        ),
        (
            "HOST=ws://localhost",
            "HOST is ws://localhost (@): a host is a name or an IP address to listen on, such as localhost or 0.0.0.0; change it there",
        ),
        (
            "ADDRESS=localhost",
            "ADDRESS is localhost (@): it has no port; an address is ws://host:port; change it there",
        ),
        (
            "ADDRESS=http://a:1",
            "ADDRESS is http://a:1 (@): its scheme is not ws, wss or iroh; an address is ws://host:port; change it there",
        ),
        (
            "ADDRESS=0.0.0.0:4001",
            "ADDRESS is 0.0.0.0:4001 (@): no node can dial that host; set a name or IP address by which others reach this machine; change it there",
        ),
        (
            "ADDRESS=224.0.0.1:4001",
            "ADDRESS is 224.0.0.1:4001 (@): that is a multicast or broadcast address, which nobody can dial; set a name or IP address of this machine; change it there",
        ),
        (
            "ADDRESS=255.255.255.255:4001",
            "ADDRESS is 255.255.255.255:4001 (@): that is a multicast or broadcast address, which nobody can dial; set a name or IP address of this machine; change it there",
        ),
        (
            "ADDRESS='ws://[ff02::1]:4001'",
            "ADDRESS is ws://[ff02::1]:4001 (@): that is a multicast or broadcast address, which nobody can dial; set a name or IP address of this machine; change it there",
        ),
        (
            "ADDRESS='ws://[fe80::1]:4001'",
            "ADDRESS is ws://[fe80::1]:4001 (@): a link-local address needs a zone, which differs from machine to machine, so nobody could dial it; \
             set an address that needs none, such as fd00::7; change it there",
        ),
        (
            "TRUSTED_PROXIES=10.0.0.0/8,ff02::1",
            "TRUSTED_PROXIES is ff02::1 (@): no connection comes from a multicast or broadcast address; write that of a node, such as 192.0.2.7; \
             several proxies are separated by commas; change it there",
        ),
        (
            "NETWORK='a\u{7}b'",
            "NETWORK is ab (@): a network's name has no character that cannot be seen, and this one has U+0007; change it there",
        ),
        ("LOG=verbose", "LOG is verbose (@): a level is one of error, warn, info, debug, trace; change it there"),
        (
            "PEERS=localhost:4001,4002",
            "PEERS is 4002 (@): it has no port; a peer is ws://host:port or host:port, several are separated by commas; change it there",
        ),
        (
            "MY_PUBLIC_KEY=04ab",
            "MY_PUBLIC_KEY is 04ab (@): a public key has 64 hexadecimal digits, or is left empty; change it there",
        ),
        (
            "QUEUE_BYTES=1000",
            "QUEUE_BYTES is 1000 (@): it is a whole number from 1048576 to 1073741824; change it there",
        ),
        ("INBOUND_LINKS=0", "INBOUND_LINKS is 0 (@): it is a whole number from 1 to 2147483648; change it there"),
        (
            "PING_INTERVAL_SECONDS=1.5",
            "PING_INTERVAL_SECONDS is 1.5 (@): it is a whole number from 1 to 86400; change it there",
        ),
        (
            "PING_INTERVAL_SECONDS=45",
            "PING_INTERVAL_SECONDS is 45 (@): a silent link must be pinged before it counts as dead, DEAD_AFTER_SECONDS=45; change it there",
        ),
        (
            "DEAD_AFTER_SECONDS=15",
            "DEAD_AFTER_SECONDS is 15 (@): a link must be pinged before it counts as dead, PING_INTERVAL_SECONDS=15; change it there",
        ),
        (
            "BACKOFF_MAX_MILLISECONDS=499",
            "BACKOFF_MAX_MILLISECONDS is 499 (@): it is less than BACKOFF_MIN_MILLISECONDS=500; change it there",
        ),
    ] {
        let folder = Folder::new(&format!("PORT=4001\n{setting}\n"));
        assert_eq!(folder.error(&Flags::default(), &[]), line.replace('@', "node-2/.env, line 2"));
    }
    let long = Folder::new(&format!("PORT=4001\nNETWORK={}", "é".repeat(65)));
    assert!(long.error(&Flags::default(), &[]).contains("at most 64 characters, and this one has 65"));
}

#[test]
fn bad_flags_are_named() {
    let folder = Folder::new("PORT=4001");
    for (flags, line) in [
        (
            flags(|flags| flags.log = Some("loud".to_owned())),
            "LOG is loud (from --log): a level is one of error, warn, info, debug, trace; give --log another value",
        ),
        (
            flags(|flags| flags.peers = vec!["localhost:4002".to_owned(), "localhost:0".to_owned()]),
            "PEERS is localhost:0 (from --peers): its port is not from 1 to 65535; a peer is ws://host:port or host:port, \
             several are separated by commas; give --peers another value",
        ),
    ] {
        assert_eq!(folder.error(&flags, &[]), line);
    }
}

#[test]
fn good_values_are_taken() {
    let long = "é".repeat(64);
    let folder = Folder::new(&format!(
        "PORT=4001\nHOST=LocalHost\nADDRESS=example.org:80\nNETWORK={long}\nLOG=TRACE\nMY_PUBLIC_KEY=undefined\n\
         QUEUE_BYTES=1048576\nPOOL_TRANSACTIONS=5\nPOOL_BYTES=1048577\nINBOUND_LINKS=8\nINBOUND_LINKS_PER_IP=4\nPEER_TABLE=9\nTRANSACTION_RATE=7\nTRANSACTION_BURST=70\n\
         PING_INTERVAL_SECONDS=100\nDEAD_AFTER_SECONDS=300\nBACKOFF_MIN_MILLISECONDS=50\nBACKOFF_MAX_MILLISECONDS=50\n\
         DIAL_TIMEOUT_SECONDS=2\nUNSTORED_BYTES=2000000\nTRUSTED_PROXIES=127.0.0.1\n"
    ));
    let settings = folder.ok();
    assert_eq!((settings.host.as_str(), &settings.network, settings.log), ("localhost", &long, tracing::Level::TRACE));
    assert_eq!(settings.advertised(4001).unwrap().to_string(), "ws://example.org:80");
    assert_eq!(settings.public_key, None);
    let seconds = std::time::Duration::from_secs;
    let millis = std::time::Duration::from_millis;
    let expected = Limits {
        queue_bytes: 1_048_576,
        pool_transactions: 5,
        pool_bytes: 1_048_577,
        inbound_links: 8,
        inbound_per_ip: 4,
        peer_table: 9,
        transaction_rate: 7,
        transaction_burst: 70,
        ping_interval: seconds(100),
        dead_after: seconds(300),
        backoff_min: millis(50),
        backoff_max: millis(50),
        dial_timeout: seconds(2),
        unstored_bytes: 2_000_000,
        ..Limits::default()
    };
    assert_eq!(settings.limits, expected);
    assert_eq!(settings.warnings, NONE);
}

#[test]
fn peers_are_added_to_the_known_ones() {
    let folder = Folder::new("PORT=4001\nPEERS=localhost:9");
    fs::write(folder.path().join("known-peers.json"), r#"["ws://localhost:4001", 7, "ws://localhost:4003"]"#).unwrap();
    let flags =
        flags(|flags| flags.peers = vec!["localhost:4003, ws://localhost:4002/".to_owned(), "[::1]:4005".to_owned()]);
    let settings = folder.read(&flags, &["PEERS=localhost:10"]).unwrap();
    let peers: Vec<_> = settings.known_peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["ws://localhost:4001", "ws://localhost:4003", "ws://localhost:4002", "ws://[::1]:4005"]);
    assert_eq!(settings.warnings.len(), 1, "the invalid entry is reported: {:?}", settings.warnings);
    assert_eq!(folder.ok().known_peers[2].to_string(), "ws://localhost:9");
}

#[test]
fn relays_of_a_flag_go_over_those_of_the_file() {
    let id = "iroh:d7e1bb27123fb5275c7d9959d2ca3c59f8426698a71483eea05a529aa14b5560";
    let folder = Folder::new(&format!("PORT=4001\nPEERS={id}@env.relay:1"));
    fs::write(folder.path().join("known-peers.json"), format!(r#"["{id}@file.relay:1"]"#)).unwrap();
    for (given, relays) in [(format!("{id}@a:1,b:2"), "a:1,b:2"), (id.to_owned(), "file.relay:1")] {
        let settings = folder.read(&flags(|flags| flags.peers = vec![given]), &[]).unwrap();
        assert_eq!(settings.known_peers.len(), 1);
        assert_eq!(settings.known_peers[0].to_string(), format!("{id}@{relays}"));
    }
    let no_key = format!("PORT=4001\nPEERS=iroh:02{}", "0".repeat(62));
    assert!(Folder::new(&no_key).error(&Flags::default(), &[]).contains("its node id is no public key"));
}

#[test]
fn a_public_key_must_be_the_folders() {
    let folder = Folder::new("PORT=4001");
    let id = NodeKey::load_or_create(folder.path()).unwrap().node_id();
    let with = |text: &str| fs::write(folder.env(), format!("PORT=4001\nMY_PUBLIC_KEY={text}")).unwrap();

    with(&id.to_string().to_uppercase());
    assert_eq!(folder.ok().public_key, Some(id));
    with("");
    assert_eq!(folder.ok().public_key, None);

    let other = "ab".repeat(32);
    with(&other);
    assert_eq!(
        folder.error(&Flags::default(), &[]),
        format!(
            "MY_PUBLIC_KEY is {other} (node-2/.env, line 2): it is not the public half of node-2/node.key, which is {id}; change it there"
        )
    );
    fs::remove_file(folder.path().join("node.key")).unwrap();
    assert_eq!(
        folder.error(&Flags::default(), &[]),
        format!(
            "MY_PUBLIC_KEY is {other} (node-2/.env, line 2): its secret key is missing, there is no node-2/node.key; restore that file, \
             or leave MY_PUBLIC_KEY empty to get a new key; change it there"
        )
    );
    assert!(!folder.path().join("node.key").exists(), "reading settings makes no key");
}

#[test]
fn odd_values_cause_warnings() {
    for (env, warnings) in [
        (
            "PORT=4001\nPROT=4002\nPATH=/bin",
            &["node-2/.env, line 2: PROT is not a setting and is ignored; did you mean PORT?"][..],
        ),
        (
            "PORT=4001\nKNOWN_PEER=x",
            &["node-2/.env, line 2: KNOWN_PEER is not a setting and is ignored; did you mean PEERS?"],
        ),
        (
            "PORT=4001\nMAX_PEERS=1\nGENESIS=",
            &[
                "MAX_PEERS is 1 (node-2/.env, line 2): nodes with one link each cannot form a network, only pairs; set 2 or more, better 3",
            ],
        ),
        ("PORT=4001\n\nPORT=4002\n", &["node-2/.env sets PORT more than once, in lines 1 and 3; the last one counts"]),
        (
            "PORT=4001\nHOST=0.0.0.0",
            &[
                "HOST is 0.0.0.0, so other machines can link to this node, but the address that it announces, ws://localhost, leads them to \
               themselves; set ADDRESS to one that they can dial, such as ADDRESS=ws://192.168.1.20:4001",
            ],
        ),
        (
            "PORT=4001\nHOST=fe80::7%eth0",
            &[
                "HOST is fe80::7%eth0, whose zone (behind the %) means an interface of this machine alone, so nobody can dial the address that \
               this node announces, ws://[fe80::7]; set ADDRESS to one without a zone, such as ADDRESS=ws://[fd00::7]:4001, or let others dial \
               this node with the zone of their own interface",
            ],
        ),
        ("PORT=4001\nHOST=fe80::7%eth0\nADDRESS=ws://[fd00::7]:4001", &[]),
        (
            "PORT=4001\nHOST=192.168.1.20\nADDRESS=127.0.0.1:4001",
            &[
                "HOST is 192.168.1.20, so other machines can link to this node, but the address that it announces, ws://127.0.0.1:4001, leads \
               them to themselves; set ADDRESS to one that they can dial, such as ADDRESS=ws://192.168.1.20:4001",
            ],
        ),
        (
            "PORT=4001\nADDRESS=ws://203.0.113.7:4001\nRELAY=on",
            &[
                "HOST is localhost, so only this machine can link to this node, but its address is ws://203.0.113.7:4001; set HOST=0.0.0.0, \
                 or name the proxy on this machine that leads to it in TRUSTED_PROXIES",
            ],
        ),
        (
            "PORT=4001\nHOST=::1\nADDRESS=[2001:db8::1]:4001",
            &[
                "HOST is ::1, so only this machine can link to this node, but its address is ws://[2001:db8::1]:4001; set HOST=::, \
                 or name the proxy on this machine that leads to it in TRUSTED_PROXIES",
            ],
        ),
        ("PORT=4001\nADDRESS=ws://203.0.113.7:4001\nRELAY=on\nTRUSTED_PROXIES=127.0.0.1", &[]),
        ("PORT=4001\nHOST=0.0.0.0\nADDRESS=ws://203.0.113.7:4001\nRELAY=on", &[]),
        ("PORT=4001\nHOST=::\nADDRESS=example.org:4001", &[]),
        ("PORT=4001\nHOST=192.168.1.20", &[]),
        ("PORT=4001\nHOST=127.0.0.1", &[]),
        ("PORT=4001\nHOST=localhost\nADDRESS=localhost:4001", &[]),
    ] {
        assert_eq!(Folder::new(env).warnings(&[]), warnings, "{env}");
    }
    assert_eq!(
        Folder::new("PORT=4001\nDISCOVER=mdns").warnings(&["HTTP_PORT=80", "PROT=1"]),
        ["node-2/.env, line 2: DISCOVER is not a setting and is ignored; did you mean DISCOVERY?"]
    );
    assert_eq!(Folder::new("PORT=4001\nPORT=4002").ok().port, 4002);
}

#[test]
fn what_only_the_environment_has_is_one_line_without_secrets() {
    let folder = Folder::new("PORT=4001\nNETWORK=mine\n");
    let exported = |environment: &[&str]| {
        let settings = folder.read(&Flags::default(), environment).unwrap();
        settings.exported.map(|line| folder.shorten(&line))
    };
    assert_eq!(exported(&[]), None);
    assert_eq!(
        exported(&["PORT=4002", "NETWORK=other", "HOST=", "PATH=/bin"]),
        None,
        "named there, empty, or no setting"
    );
    let token = "HTTP_TOKEN=0123456789abcdef";
    assert_eq!(
        exported(&["HOST=127.0.0.1", "PORT=4002", token, "TRANSACTION_RATE=5", "LOG_FORMAT=text"]).as_deref(),
        Some(
            "from the environment, as node-2/.env does not name them: HOST=127.0.0.1, LOG_FORMAT=text, HTTP_TOKEN=…, TRANSACTION_RATE=5; \
             run 'unset NAME' for each that you did not mean"
        )
    );
    let flag = flags(|flags| flags.host = Some("127.0.0.1".into()));
    assert_eq!(folder.read(&flag, &["HOST=example.org"]).unwrap().exported, None, "the flag counts");
    // No line shows a token.
    let folder = Folder::new("PORT=4001\nHTTP_TOKEN=abcdef0123456789\n");
    let warnings = folder.warnings(&[token]);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("HTTP_TOKEN") && !warnings[0].contains("0123456789"), "{warnings:?}");
}

#[test]
fn the_environment_does_not_remove_a_token() {
    let folder = Folder::new("PORT=4001\nHTTP_TOKEN=abcdef0123456789\n");
    for empty in ["HTTP_TOKEN=", "HTTP_TOKEN=  "] {
        let error = folder.error(&Flags::default(), &[empty]);
        assert!(
            error.starts_with(
                "HTTP_TOKEN is empty (from the environment, which overrides node-2/.env): the API would ask for no token"
            ),
            "{error}"
        );
    }
    for env in ["PORT=4001\n", "PORT=4001\nHTTP_TOKEN=\n"] {
        let settings = Folder::new(env).read(&Flags::default(), &["HTTP_TOKEN="]).expect("there is none");
        assert_eq!(settings.http.expect("the page").token, None);
    }
}

#[test]
fn the_environment_keeps_quotation_marks_so_they_are_an_error() {
    let folder = Folder::new("PORT=4001\nNETWORK_CA='ca.pem'\n");
    for exported in [
        "HTTP_TOKEN=\"0123456789abcdef\"",
        "HTTP_TOKEN='0123456789abcdef'",
        "NETWORK=\"mars\"",
        "NETWORK_CA='ca.pem'",
        "CERTIFICATE=\"a.pem\"",
        "PORT=\"4001\"",
        "HOST='localhost'",
        "LOG=\"info\"",
        "HTTP_NAMES=\"a.example\"",
        "HTTP_PATH='/a'",
        "RELAYS=\"a.example:1\"",
        "MAX_PEERS='7'",
    ] {
        let error = folder.error(&Flags::default(), &[exported]);
        let name = exported.split('=').next().unwrap();
        assert!(error.starts_with(name) && error.contains("(from the environment"), "{error}");
        assert!(!error.contains("0123456789"), "{error}");
    }
    let named = folder.read(&Flags::default(), &["NETWORK=Ann's and 'Bob's"]).expect("marks within a name");
    assert_eq!(named.network, "Ann's and 'Bob's");
}

#[test]
fn what_is_no_text_in_the_environment_is_an_error_for_every_setting() {
    let folder = Folder::new("PORT=4001\nNETWORK_CA=ca.pem\n");
    let names = ["NETWORK", "NETWORK_CA", "CERTIFICATE", "HOST", "PEERS", "LOG", "HTTP_TOKEN", "RELAYS", "POOL_BYTES"];
    for name in names {
        let error = folder.error(&Flags::default(), &[&format!("{name}=a\u{fffd}bcdefghijklmnopq")]);
        assert!(error.starts_with(name) && error.contains("is UTF-8 text, and this is not"), "{error}");
    }
    let flag = flags(|flags| flags.network = Some("mars".into()));
    assert_eq!(folder.read(&flag, &["NETWORK=a\u{fffd}b"]).expect("the flag counts").network, "mars");
}

#[test]
fn a_name_of_the_page_without_a_token_is_a_warning() {
    let names = "HTTP_NAMES=node.example.org\n";
    let warnings = |env: &str| Folder::new(&format!("PORT=4001\n{env}")).warnings(&[]);
    let found = warnings(names);
    assert!(found.len() == 1 && found[0].contains("HTTP_TOKEN is not set"), "{found:?}");
    for env in ["HTTP_TOKEN=0123456789abcdef", "HTTP_PORT=0"] {
        assert_eq!(warnings(&format!("{names}{env}")), NONE);
    }
}

#[test]
fn an_address_of_a_closed_network_is_no_use_in_an_open_one() {
    let error = Folder::new("PORT=4001\nADDRESS=wss://example.org:4001").error(&Flags::default(), &[]);
    assert!(error.starts_with("ADDRESS is wss://example.org:4001 (node-2/.env, line 2): wss:// is"), "{error}");
    assert!(error.contains("write ws://, or set NETWORK_CA"), "{error}");
    let closed = "PORT=4001\nHOST=0.0.0.0\nADDRESS=wss://example.org:4001\nNETWORK_CA=ca.pem\nPEERS=wss://a.example:1";
    assert_eq!(Folder::new(closed).warnings(&[]), Vec::<String>::new());
    for (env, begin) in [
        ("PORT=4001\nPEERS=wss://a.example:1,ws://b.example:1,wss://c.example:1", "wss://a.example:1 and 1 more: "),
        ("PORT=4001\nGENESIS=wss://a.example:1\nHOST=0.0.0.0\nADDRESS=ws://b.example:1", "wss://a.example:1: "),
    ] {
        let warnings = Folder::new(env).warnings(&[]);
        assert!(warnings.len() == 1 && warnings[0].starts_with(begin), "{warnings:?}");
    }
}

#[test]
fn addresses_are_taken_as_ping_and_curl_take_them() {
    let folder =
        Folder::new("PORT=1\nADDRESS=bücher.example.:4001\nPEERS=ws://a.example.:1,[fe80::1%eth0]:2,例え.テスト:3\n");
    let settings = folder.ok();
    assert_eq!(settings.address.expect("it is set").to_string(), "ws://xn--bcher-kva.example:4001");
    let peers: Vec<String> = settings.known_peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["ws://a.example:1", "ws://[fe80::1%eth0]:2", "ws://xn--r8jz45g.xn--zckzah:3"]);
    let folder = Folder::new("PORT=1\nHOST=localhost.\n");
    fs::write(folder.path().join("known-peers.json"), r#"["ws://bücher.example.:4001", "ws://[fe80::7%25lo]:1"]"#)
        .expect("its known peers are written");
    let settings = folder.ok();
    let peers: Vec<String> = settings.known_peers.iter().map(ToString::to_string).collect();
    assert_eq!((settings.host.as_str(), settings.warnings.len()), ("localhost", 0), "{:?}", settings.warnings);
    assert_eq!(peers, ["ws://xn--bcher-kva.example:4001", "ws://[fe80::7%lo]:1"]);
    let error = Folder::new("PORT=1\nADDRESS=[fe80::1%eth0]:4001\n").error(&Flags::default(), &[]);
    assert!(error.contains("an interface of this machine alone"), "{error}");
}

#[test]
fn one_address_is_one_peer_however_it_is_written() {
    let folder = Folder::new(
        "PORT=1\nHOST=::ffff:127.0.0.1\nPEERS=[::ffff:198.51.100.7]:4001,198.51.100.7.:4001,WS://198.51.100.7:04001/\n",
    );
    let known =
        r#"["ws://[::FFFF:C633:6407]:4001", "ws://198.51.100.7:4001", "ws://a.example:1", "ws://A.Example.:1/"]"#;
    fs::write(folder.path().join("known-peers.json"), known).expect("its known peers are written");
    let settings = folder.ok();
    let peers: Vec<String> = settings.known_peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["ws://198.51.100.7:4001", "ws://a.example:1"]);
    assert_eq!(settings.host, "127.0.0.1");
}

#[test]
fn a_reload_names_each_setting_that_it_does_not_take() {
    let before = Folder::new("PORT=1").ok();
    for (line, name) in [
        ("TRUSTED_PROXIES=10.0.0.1", "TRUSTED_PROXIES"),
        ("TRUSTED_PROXIES=10.0.0.1\nHTTP_PORT=7", "HTTP_PORT|TRUSTED_PROXIES"),
        ("HTTP_PATH=/a", "HTTP_PATH"),
        ("HTTP_NAMES=a.example\nHTTP_TOKEN=0123456789abcdef\nHTTP_HOST=::1", "HTTP_HOST|HTTP_NAMES|HTTP_TOKEN"),
        ("HTTP_PORT=0\nHTTP_PATH=/a", "HTTP_PORT"),
        ("NETWORK_CA=ca.pem", "NETWORK_CA"),
        ("WAN=on", "WAN"),
        ("RELAYS=198.51.100.7:4001", "RELAYS"),
        ("LOOKUP=dht", "LOOKUP"),
        ("POOL_BYTES=2000000", "POOL_BYTES"),
        ("BACKOFF_MAX_MILLISECONDS=70000\nPEER_TABLE=7", "PEER_TABLE|BACKOFF_MAX_MILLISECONDS"),
        ("PEERS=ws://a.example:1", ""),
    ] {
        let after = Folder::new(&format!("PORT=1\n{line}")).ok();
        assert_eq!(before.differences(&after).join("|"), name, "{line}");
        assert_eq!(after.differences(&before).join("|"), name, "{line}");
    }
    let [closed, other] =
        ["", "\nCERTIFICATE=other.pem"].map(|line| Folder::new(&format!("PORT=1\nNETWORK_CA=ca.pem{line}")).ok());
    assert_eq!(closed.differences(&other), ["CERTIFICATE"]);
    let [public, own] =
        ["", "\nLOOKUP_BOOTSTRAP=198.51.100.7:6881"].map(|line| Folder::new(&format!("PORT=1\nLOOKUP=dht{line}")).ok());
    assert_eq!(public.differences(&own), ["LOOKUP_BOOTSTRAP"]);
}

#[test]
fn a_reload_names_each_limit_that_it_does_not_take() {
    let before = Folder::new("PORT=1").ok();
    for (name, value) in [
        ("PEER_TABLE", 7),
        ("INBOUND_LINKS", 7),
        ("INBOUND_LINKS_PER_IP", 7),
        ("QUEUE_BYTES", 2_097_152),
        ("UNSTORED_BYTES", 2_097_152),
        ("POOL_TRANSACTIONS", 7),
        ("POOL_BYTES", 2_097_152),
        ("TRANSACTION_RATE", 7),
        ("TRANSACTION_BURST", 7),
        ("DIAL_TIMEOUT_SECONDS", 7),
        ("PING_INTERVAL_SECONDS", 7),
        ("DEAD_AFTER_SECONDS", 70),
        ("BACKOFF_MIN_MILLISECONDS", 7),
        ("BACKOFF_MAX_MILLISECONDS", 7_000),
        ("IMAGE_MAX_BYTES", 7),
        ("IMAGE_CACHE_BYTES", 7),
    ] {
        let after = Folder::new(&format!("PORT=1\n{name}={value}")).ok();
        assert_eq!(before.differences(&after), [name]);
    }
}

#[test]
fn the_advertised_address_is_the_host_that_is_listened_on() {
    for (host, address) in [
        ("localhost", "ws://localhost:5"),
        ("::1", "ws://[::1]:5"),
        ("0.0.0.0", "ws://localhost:5"),
        ("::", "ws://localhost:5"),
        ("10.0.0.7", "ws://10.0.0.7:5"),
        ("fe80::7%eth0", "ws://[fe80::7]:5"),
    ] {
        let settings = Folder::new(&format!("PORT=0\nHOST={host}")).ok();
        assert_eq!(settings.advertised(5).unwrap().to_string(), address);
    }
}

#[test]
fn a_node_that_other_machines_are_to_find_listens_for_them_by_default() {
    let hosts = [
        ("", "localhost", "by default"),
        ("GENESIS=localhost:5", "localhost", "by default"),
        ("DISCOVERY=off", "localhost", "by default"),
        ("DISCOVERY=mdns", "0.0.0.0", "by default, because of DISCOVERY"),
        ("DISCOVERY=MDNS\nHOST=localhost", "localhost", "node-2/.env, line 3"),
        ("GENESIS=10.0.0.7:5", "0.0.0.0", "by default, because of GENESIS"),
        ("GENESIS=[2001:db8::7]:5", "::", "by default, because of GENESIS"),
        ("DISCOVERY=mdns\nGENESIS=example.org:5", "0.0.0.0", "by default, because of DISCOVERY and GENESIS"),
    ];
    for (env, host, origin) in hosts {
        let folder = Folder::new(&format!("PORT=4001\n{env}"));
        let settings = folder.ok();
        let listened = folder.shorten(&settings.listen_origin);
        assert_eq!((settings.host.as_str(), listened.split("HOST ").nth(1)), (host, Some(origin)), "{env}");
        assert_eq!(settings.warnings, NONE, "{env}");
        if host == "localhost" {
            assert_eq!(settings.advertised(5).unwrap().to_string(), "ws://localhost:5", "{env}");
        }
    }
    let flag = flags(|flags| flags.discovery = Some("off".into()));
    assert_eq!(Folder::new("PORT=1\nDISCOVERY=mdns").read(&flag, &[]).unwrap().discovery, Discovery::Off);
    for (env, warning) in [
        (
            "DISCOVERY=mdns\nADDRESS=localhost:5",
            "HOST is 0.0.0.0, so other machines can link to this node, but the address that it announces",
        ),
        ("DISCOVERY=mdns\nHOST=10.0.0.7\nADDRESS=localhost:5", "HOST is 10.0.0.7, so other machines can link"),
        (
            "GENESIS=10.0.0.7:5\nHOST=localhost",
            "GENESIS is ws://10.0.0.7:5, on another machine, but the address that this node announces, ws://localhost",
        ),
        (
            "GENESIS=10.0.0.7:5\nHOST=::1\nADDRESS=127.0.0.1:5",
            "GENESIS is ws://10.0.0.7:5, on another machine, but the address that this node announces, ws://127.0.0.1:5",
        ),
    ] {
        let warnings = Folder::new(&format!("PORT=4001\n{env}")).warnings(&[]);
        assert!(
            matches!(warnings.as_slice(), [one] if one.starts_with(warning) && one.contains("ADDRESS=ws://")),
            "{env}: {warnings:?}"
        );
    }
    let error = Folder::new("PORT=4001\nDISCOVERY=dns").error(&Flags::default(), &[]);
    assert_eq!(
        error,
        "DISCOVERY is dns (node-2/.env, line 2): it is mdns, to find nodes by multicast DNS, or off; change it there"
    );
    let flag = flags(|flags| flags.discovery = Some("yes".into()));
    let error = Folder::new("PORT=4001").error(&flag, &[]);
    assert!(error.starts_with("DISCOVERY is yes (from --discovery)"), "{error}");
}

#[test]
fn the_template_is_valid_and_shows_the_defaults() {
    let template = include_str!("../.env");
    let settings = Folder::new(template).ok();
    assert_eq!((settings.port, settings.warnings), (4001, Vec::new()));

    // Each setting that is commented out, with its default, changes nothing.
    let settings = |line: &&str| {
        line.strip_prefix("# ")
            .is_some_and(|rest| rest.split('=').next().is_some_and(|name| !name.contains(' ')) && rest.contains('='))
    };
    let all: String = template.lines().filter(settings).map(|line| line[2..].to_owned() + "\n").collect();
    let folder = Folder::new(&format!("PORT=4001\n{all}"));
    let settings = folder.ok();
    assert_eq!(settings.limits, Limits::default());
    assert_eq!((settings.host.as_str(), settings.network.as_str()), ("localhost", "p2p-node"));
    let [names] = &settings.warnings[..] else { panic!("{:?}", settings.warnings) };
    assert!(names.contains("HTTP_TOKEN is not set"), "the token of the template is empty: {names}");
    assert_eq!(all.lines().count(), 42, "{all}");
}

#[test]
fn http_is_on_loopback_unless_a_token_guards_it() {
    let http = |env: &str| Folder::new(&format!("PORT=4001\n{env}")).ok().http;
    let default = http("").unwrap();
    assert_eq!((default.host.as_str(), default.port, default.token), ("localhost", None, None));
    assert_eq!(http("HTTP_PORT=0\nHTTP_HOST=0.0.0.0"), None, "off");
    assert_eq!(http("HTTP_PORT=8080").unwrap().port, Some(8080));
    assert_eq!(http("HTTP_NAMES=Node.example.org,other").unwrap().names, ["node.example.org", "other"]);
    for (path, read) in [("/node-1", "/node-1"), ("/a/b.c_~/", "/a/b.c_~"), ("/", "")] {
        assert_eq!(http(&format!("HTTP_PATH={path}")).unwrap().path, read);
    }
    let proxies = Folder::new("PORT=4001\nTRUSTED_PROXIES='127.0.0.1, ::1,10.0.0.0/8'").ok();
    assert_eq!((proxies.trusted_proxies.len(), proxies.http.unwrap().trusted_proxies), (3, proxies.trusted_proxies));
    let beyond = http("HTTP_HOST=0.0.0.0\nHTTP_TOKEN=0123456789abcdef").unwrap();
    assert_eq!((beyond.host.as_str(), beyond.token.as_deref()), ("0.0.0.0", Some("0123456789abcdef")));
    for (env, expected) in [
        ("HTTP_HOST=0.0.0.0", "HTTP_HOST is 0.0.0.0 (node-2/.env, line 2): beyond this machine a token is required"),
        ("HTTP_HOST=192.168.1.20", "set HTTP_TOKEN to at least 16 characters"),
        ("HTTP_TOKEN=short", "HTTP_TOKEN is … (node-2/.env, line 2): a token has at least 16"),
        ("HTTP_PORT=70000", "a port is a number from 1 to 65535, or 0"),
        ("HTTP_PORT=4001", "PORT and HTTP_PORT are both 4001 (HTTP_PORT node-2/.env, line 2)"),
        ("HTTP_NAMES=a/b", "a list of host names"),
        ("HTTP_PATH=node-1", "a path such as /node-1"),
        ("HTTP_PATH=//evil.example", "a path such as /node-1"),
        ("HTTP_PATH=/a/../b", "a path such as /node-1"),
        ("HTTP_PATH=/a?b", "a path such as /node-1"),
        ("TRUSTED_PROXIES=127.0.0.1,localhost", "TRUSTED_PROXIES is localhost"),
        ("TRUSTED_PROXIES=10.0.0.0/33", "write an IP address, or a range"),
        ("TRUSTED_PROXIES=::ffff:0.0.0.0", "no connection comes from that address"),
        ("TRUSTED_PROXIES=10.0.0.1,fe80::1%eth0", "TRUSTED_PROXIES is fe80::1%eth0"),
        ("LOG_FORMAT=xml", "a log's format is text or json"),
    ] {
        let error = Folder::new(&format!("PORT=4001\n{env}")).error(&Flags::default(), &[]);
        assert!(error.contains(expected) && !error.contains("short"), "{env}: {error}");
    }
    let flag = flags(|flags| flags.http_port = Some("9000".into()));
    assert_eq!(Folder::new("PORT=4001\nHTTP_PORT=1").read(&flag, &[]).unwrap().http.unwrap().port, Some(9000));
    assert!(Folder::new("PORT=4001\nLOG_FORMAT=JSON").ok().log_json);
}

#[test]
fn a_closed_network_is_named_by_its_authority_and_its_addresses_are_secure() {
    let settings =
        Folder::new("PORT=4001\nNETWORK_CA=ca.pem\nPEERS=localhost:4002\nGENESIS=ws://localhost:4003\n").ok();
    assert_eq!(settings.closed, Some((PathBuf::from("ca.pem"), PathBuf::from("node.pem"))));
    assert_eq!(settings.plain, None, "off by default");
    assert_eq!(settings.known_peers[0].to_string(), "wss://localhost:4002");
    let folder = Folder::new("PORT=4001\nNETWORK_CA=ca.pem\nPEERS=ws://localhost:4002,ws://b.example:1\n");
    let written = r#"["ws://localhost:4002", "wss://a.example:1", "ws://a.example:1"]"#;
    fs::write(folder.path().join("known-peers.json"), written).expect("written");
    let known: Vec<String> = folder.ok().known_peers.iter().map(ToString::to_string).collect();
    assert_eq!(known, ["wss://localhost:4002", "wss://a.example:1", "wss://b.example:1"]);
    assert_eq!(settings.genesis.as_ref().unwrap().to_string(), "wss://localhost:4003");
    assert_eq!(settings.advertised(4001).unwrap().to_string(), "wss://localhost:4001");
    let settings = Folder::new("PORT=4001\nNETWORK_CA=a\nCERTIFICATE=b\nPLAIN=on\nADDRESS=example.org:5\n").ok();
    assert_eq!(settings.closed, Some((PathBuf::from("a"), PathBuf::from("b"))));
    assert_eq!(
        (settings.plain, settings.advertised(1).unwrap().to_string()),
        (Some(true), "wss://example.org:5".into())
    );
    for (line, says) in [("CERTIFICATE=node.pem", "NETWORK_CA=ca.pem"), ("PLAIN=no", "on or off")] {
        let error = Folder::new(&format!("PORT=4001\n{line}\n")).error(&Flags::default(), &[]);
        assert!(error.contains("node-2/.env, line 2") && error.contains(says), "{error}");
    }
}

#[cfg(feature = "wan")]
#[test]
fn links_through_nats_have_settings_of_their_own() {
    use meshpool::{LookupMode, RelayMode, WanMode};

    let read = |env: &str| Folder::new(&format!("PORT=4001\n{env}")).ok().wan;
    assert_eq!(read(""), meshpool::WanSettings::default());
    let relay = read("ADDRESS=ws://203.0.113.7:4001\nRELAY=Members\nRELAYS='a.example:1, [2001:db8::1]:2'");
    assert_eq!((relay.mode, relay.relay), (WanMode::Auto, RelayMode::Members));
    let relays: Vec<String> = relay.relays.iter().map(ToString::to_string).collect();
    assert_eq!(relays, ["a.example:1", "[2001:db8::1]:2"]);
    let relays: Vec<String> = read("RELAYS=a:1,a:1,b:1,,c:1,").relays.iter().map(ToString::to_string).collect();
    assert_eq!(relays, ["a:1", "b:1", "c:1"], "three, though one is named twice");
    for (address, relay) in [
        ("ws://203.0.113.7:4001", RelayMode::On),
        ("ws://node.example:4001", RelayMode::On),
        ("ws://[2001:db8::7]:4001", RelayMode::On),
        ("ws://10.0.0.1:4001", RelayMode::Off),
        ("ws://box.local:4001", RelayMode::Off),
        ("ws://box.fritz.LAN:4001", RelayMode::Off),
        ("ws://nas.home.arpa:4001", RelayMode::Off),
        ("ws://box:4001", RelayMode::Off),
        ("ws://203.0.113.7:4001\nWAN=off", RelayMode::Off),
    ] {
        assert_eq!(read(&format!("RELAY=auto\nADDRESS={address}")).relay, relay, "{address}");
    }
    assert_eq!(read("RELAY=auto").relay, RelayMode::Off);
    assert_eq!(read("LOOKUP=dht").lookup, LookupMode::Dht { bootstrap: Vec::new() });
    assert_eq!(
        read("LOOKUP=dht\nLOOKUP_BOOTSTRAP=dht.example:6881,192.0.2.1:1").lookup,
        LookupMode::Dht { bootstrap: vec!["dht.example:6881".to_owned(), "192.0.2.1:1".to_owned()] }
    );

    for (env, parts) in [
        ("WAN=maybe", &["WAN is maybe (node-2/.env", "on, off, or auto"][..]),
        ("RELAY=yes", &["RELAY is yes (node-2/.env", "(members)"]),
        ("RELAY=on", &["RELAY is on (node-2/.env", "set HOST=0.0.0.0 and ADDRESS"]),
        ("ADDRESS=ws://203.0.113.7:4001\nRELAY=on\nWAN=off", &["RELAY is on (node-2/.env", "leave WAN out"]),
        ("RELAYS=a.example", &["RELAYS is a.example (node-2/.env", "host:port"]),
        ("RELAYS=a.example:1,ws://b.example:2", &["RELAYS is ws://b.example:2 (node-2/.env", "host:port"]),
        ("RELAYS=a:1,b:1,c:1,d:1", &["RELAYS is a:1,b:1,c:1,d:1 (node-2/.env", "three relays"]),
        ("RELAYS=,", &["RELAYS is , (node-2/.env", "it names none; a relay is host:port"]),
        ("LOOKUP=dht\nLOOKUP_BOOTSTRAP=' , '", &["LOOKUP_BOOTSTRAP is ", "it names none; a node of the DHT is"]),
        ("LOOKUP=yes", &["LOOKUP is yes (node-2/.env", "(dht)"]),
        (
            "LOOKUP=dht\nLOOKUP_BOOTSTRAP=a.example",
            &["LOOKUP_BOOTSTRAP is a.example (node-2/.env", "it has no port; a node of the DHT is host:port"],
        ),
    ] {
        let error = Folder::new(&format!("PORT=4001\n{env}")).error(&Flags::default(), &[]);
        assert!(parts.iter().all(|part| error.contains(part)), "{env}: {error}");
    }

    for (env, warning) in [
        ("LOOKUP_BOOTSTRAP=a.example:1", "LOOKUP_BOOTSTRAP has no effect without LOOKUP=dht (node-2/.env"),
        (
            "ADDRESS=ws://10.0.0.1:4001\nRELAY=on",
            "ADDRESS ws://10.0.0.1:4001 is not public, so only nodes of this local network can use the relay; set ADDRESS to a public one",
        ),
        ("ADDRESS=ws://localhost:4001\nRELAY=on", "so only nodes of this machine can use the relay"),
        ("WAN=off\nPEERS=iroh:d7e1bb27123fb5275c7d9959d2ca3c59f8426698a71483eea05a529aa14b5560", "remove WAN=off"),
        ("WAN=off\nLOOKUP=dht", "LOOKUP"),
        ("WAN=off\nRELAYS=relay.example:4001", "RELAYS has no effect, since WAN is off"),
    ] {
        let warnings = Folder::new(&format!("PORT=4001\n{env}")).warnings(&[]);
        assert!(warnings.iter().any(|line| line.contains(warning)), "{env}: {warnings:?}");
    }
}
