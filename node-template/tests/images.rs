//! Images on real sockets: shown by every node, searched, fetched and checked; and what finders and
//! askers that mean no good come to.

#![cfg(feature = "web")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use common::embedded::Embedded;
use common::finder::Finder;
use common::{eventually, within};
use futures_util::future::join_all;
use meshpool::binary::{ImageStream, list_images};
use meshpool::config::HttpSettings;
use meshpool::http::Server;
use meshpool::protocol::limits::Limits;
use meshpool::protocol::wire::ImageName;
use meshpool::{Image, ImageError, ImageSource};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How many images are searched, waited for and fetched at once.
const AT_ONCE: usize = 128;

fn limits() -> Limits {
    Limits { search_deadline: Duration::from_secs(20), ..Limits::default() }
}

/// As much as several chunks, no two of them alike.
fn picture(seed: u8) -> Vec<u8> {
    (0..300_000_u32).map(|place| (place / 251) as u8 ^ (place as u8).wrapping_mul(31) ^ seed).collect()
}

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn images(node: &Embedded) -> PathBuf {
    let folder = node.folder.path().join("images");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn put(node: &Embedded, name: &str, content: &[u8]) {
    std::fs::write(images(node).join(name), content).unwrap();
}

/// What lies in the folder of fetched images.
fn fetched(node: &Embedded) -> Vec<String> {
    let entries = std::fs::read_dir(node.folder.path().join("image-cache")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Nodes that are all linked to each other.
async fn mesh(limits: &[Limits]) -> Vec<Embedded> {
    let mut nodes: Vec<Embedded> = Vec::new();
    for limits in limits {
        let known: Vec<_> = nodes.iter().map(|node| node.address().clone()).collect();
        let describe = |network: meshpool::Network| known.into_iter().fold(network, meshpool::Network::known_peer);
        nodes.push(Embedded::start(|network| describe(network.limits(limits.clone()))).await);
    }
    for node in &nodes {
        eventually("a mesh", async || {
            let linked = node.status().await.unwrap().connected.len();
            if linked + 1 == limits.len() { Ok(()) } else { Err(format!("{linked} links")) }
        })
        .await;
    }
    nodes
}

async fn content(image: &Image) -> Vec<u8> {
    let mut content = Vec::new();
    while (content.len() as u64) < image.size {
        content.extend(image.read(content.len() as u64, 100_000).await.unwrap());
    }
    content
}

async fn get(node: &Embedded, image: &str) -> Result<Image, ImageError> {
    within(image, node.image(&name(image))).await
}

/// A node's HTTP side.
struct Site(Server);

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &&str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(of).map(|line| line.split_once(": ").unwrap().1)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Site {
    async fn of(node: &Embedded) -> Self {
        let settings = HttpSettings { port: Some(0), ..HttpSettings::default() };
        Self(Server::start(node.handle(), &settings).await.unwrap())
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask("GET", path, headers).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        within(path, async {
            let mut socket = TcpStream::connect(self.0.address()).await.unwrap();
            let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).await.unwrap();
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Answer { status, head, body: bytes[end + 4..].to_vec() }
        })
        .await
    }
}

#[tokio::test]
async fn an_image_in_one_folder_is_shown_by_every_node() {
    let nodes = mesh(&[limits(), limits(), limits()]).await;
    put(&nodes[0], "cat.jpg", &picture(1));
    for node in &nodes {
        let answer = Site::of(node).await.get("/images/cat.jpg", "").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/jpeg")), "{}", answer.head);
        assert_eq!(answer.header("content-length"), Some("300000"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("content-security-policy").unwrap().contains("sandbox"));
        assert_eq!(answer.body, picture(1));
    }
    assert_eq!(nodes[0].counted("image_searches").await, 0);
    assert_eq!(nodes[0].counted("image_hits").await, 1);
    assert_eq!(nodes[0].counted("image_sent_bytes").await, 600_000);
    assert_eq!((nodes[1].counted("image_searches").await, nodes[1].counted("images_fetched").await), (1, 1));
    assert!(fetched(&nodes[1]).is_empty(), "nothing is kept unless it is wanted");
    let image = get(&nodes[2], "cat.jpg").await.unwrap();
    assert_eq!((image.source, content(&image).await), (ImageSource::Fetched, picture(1)));
}

#[tokio::test]
async fn parts_and_copies_are_served_as_browsers_ask_for_them() {
    let node = Embedded::with(limits()).await;
    put(&node, "Katze 猫.PNG", &picture(2));
    put(&node, "empty.gif", b"");
    put(&node, "notes.html", b"<script>alert(1)</script>");
    let site = Site::of(&node).await;
    let path = "/images/Katze%20%E7%8C%AB.PNG";
    let whole = site.get(path, "").await;
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("image/png")));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let part = site.get(path, "Range: bytes=100-199\r\n").await;
    assert_eq!((part.status, &part.body[..]), (206, &picture(2)[100..200]));
    assert_eq!(
        (part.header("content-range"), part.header("content-length")),
        (Some("bytes 100-199/300000"), Some("100"))
    );
    let end = site.get(path, "Range: bytes=-5\r\n").await;
    assert_eq!((end.status, &end.body[..]), (206, &picture(2)[299_995..]));
    let nowhere = site.get(path, "Range: bytes=300000-\r\n").await;
    assert_eq!((nowhere.status, nowhere.header("content-range")), (416, Some("bytes */300000")));
    let tag = whole.header("etag").unwrap();
    let known = site.get(path, &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let head = site.ask("HEAD", path, "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("300000"), 0));
    put(&node, "Katze 猫.PNG", &picture(3)[..1000]);
    let changed = site.get(path, &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((changed.status, &changed.body[..]), (200, &picture(3)[..1000]));
    let empty = site.get("/images/empty.gif", "").await;
    assert_eq!((empty.status, empty.header("content-length"), empty.body.len()), (200, Some("0"), 0));
    // What is no image is nothing that a browser would run.
    let notes = site.get("/images/notes.html", "").await;
    assert_eq!(notes.header("content-type"), Some("application/octet-stream"));
    assert_eq!(notes.header("content-disposition"), Some("attachment"));
}

#[cfg(unix)]
#[tokio::test]
async fn what_leads_out_of_the_folder_or_is_no_file_is_refused() {
    let nodes = mesh(&[Limits { search_deadline: Duration::from_millis(300), ..limits() }, limits()]).await;
    let folder = images(&nodes[0]);
    std::fs::write(nodes[0].folder.path().join("secret"), "secret").unwrap();
    symlink("../secret", folder.join("link.jpg")).unwrap();
    symlink("/dev/zero", folder.join("zero.jpg")).unwrap();
    std::fs::create_dir(folder.join("folder.jpg")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(folder.join("fifo.jpg")).status().unwrap();
    assert!(fifo.success());
    put(&nodes[0], ".hidden.jpg", b"hidden");
    let site = Site::of(&nodes[0]).await;
    for missing in ["link.jpg", "zero.jpg", "folder.jpg", "fifo.jpg"] {
        let answer = site.get(&format!("/images/{missing}"), "").await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, Some("application/problem+json")),
            "{missing}"
        );
        assert!(answer.json()["detail"].as_str().unwrap().contains("no node that can be reached has"));
    }
    for bad in
        ["..%2Fsecret", "..", "%2e%2e", ".hidden.jpg", "a%00b", "a%0Ab", "%1b[2J", "%ff", "a%5Cb", &"x".repeat(201)]
    {
        let answer = site.get(&format!("/images/{bad}"), "").await;
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/problem+json")), "{bad}");
    }
    for outside in ["/images/../secret", "/images/a/b", "/images/", "/images//etc/passwd", "/images/..//secret"] {
        assert_eq!(site.get(outside, "").await.status, 404, "{outside}");
    }
    assert_eq!(nodes[0].counted("image_searches").await, 4, "bad names are not searched");
    let listed = within("a list", nodes[1].images()).await;
    assert!(listed.images.is_empty(), "{listed:?}");
}

#[tokio::test]
async fn what_nobody_has_is_not_found_once_the_deadline_has_passed() {
    let deadline = Duration::from_millis(400);
    let nodes = mesh(&[Limits { search_deadline: deadline, ..limits() }, limits()]).await;
    let begun = std::time::Instant::now();
    let answer = Site::of(&nodes[0]).await.get("/images/cat.jpg", "").await;
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
    assert!(begun.elapsed() >= deadline);
    assert_eq!(nodes[0].counted("image_misses").await, 1);
    let alone = Embedded::with(limits()).await;
    assert_eq!(get(&alone, "cat.jpg").await.unwrap_err(), ImageError::NotFound(name("cat.jpg")), "at once");
}

#[tokio::test]
async fn ten_that_ask_at_once_cause_one_search() {
    let nodes = mesh(&[limits(), limits()]).await;
    put(&nodes[1], "cat.jpg", &picture(1));
    let all = join_all((0..10).map(|_| get(&nodes[0], "cat.jpg"))).await;
    for image in all {
        assert_eq!(content(&image.unwrap()).await, picture(1));
    }
    assert_eq!((nodes[0].counted("image_searches").await, nodes[0].counted("images_fetched").await), (1, 1));
    assert_eq!(nodes[1].counted("image_sent_bytes").await, 300_000);
}

#[tokio::test]
async fn more_than_four_transfers_wait_for_their_turn() {
    let nodes = mesh(&[limits(), limits()]).await;
    for number in 0..20 {
        put(&nodes[1], &format!("{number}.png"), &picture(number));
    }
    let all = (0..20).map(|number| async move { (number, format!("{number}.png")) });
    join_all(all.map(async |image| {
        let (number, image) = image.await;
        assert_eq!(content(&get(&nodes[0], &image).await.unwrap()).await, picture(number));
    }))
    .await;
    assert_eq!(nodes[1].counted("image_transfers_refused").await, 0);
}

#[tokio::test]
async fn a_thousand_searches_at_once_are_bounded() {
    let nodes = mesh(&[Limits { search_deadline: Duration::from_millis(500), ..limits() }, limits()]).await;
    let names: Vec<String> = (0..1_000).map(|number| format!("{number}.png")).collect();
    let all = join_all(names.iter().map(|image| get(&nodes[0], image))).await;
    let busy = all.iter().filter(|outcome| matches!(outcome, Err(ImageError::Busy))).count();
    assert_eq!(busy, 1_000 - AT_ONCE);
    put(&nodes[1], "cat.jpg", &picture(1));
    assert_eq!(get(&nodes[0], "cat.jpg").await.unwrap().size, 300_000);
}

#[tokio::test]
async fn a_finder_that_dies_midway_is_replaced_by_another_which_goes_on_from_there() {
    let node = Embedded::with(limits()).await;
    let (mut first, mut second) = (Finder::link(node.port(), 1).await, Finder::link(node.port(), 2).await);
    let whole = picture(1);
    let handle = node.handle();
    let wanted = tokio::spawn(async move { handle.image(&name("cat.jpg")).await });
    let (asked, too) = (first.asked().await, second.asked().await);
    assert_eq!(asked, too, "one question");
    first.offer(&asked, "cat.jpg", &whole).await;
    let mut transfer = first.transfer().await;
    second.offer(&asked, "cat.jpg", &whole).await;
    assert_eq!(transfer.asked["data"]["name"], "cat.jpg");
    transfer.send(&whole[..131_072]).await;
    eventually("half an image", async || {
        let bytes = node.counted("image_fetched_bytes").await;
        if bytes == 131_072 { Ok(()) } else { Err(format!("{bytes} bytes")) }
    })
    .await;
    transfer.vanish();
    let mut transfer = second.transfer().await;
    assert_eq!(transfer.offset(), 131_072);
    transfer.send(&whole[131_072..]).await;
    let image = within("the image", wanted).await.unwrap().unwrap();
    assert_eq!(content(&image).await, whole);
    assert_eq!(node.counted("image_finders_failed").await, 1);
    transfer.end().await;
}

#[tokio::test]
async fn a_wrong_first_half_does_not_spoil_a_sound_finder() {
    let node = Embedded::with(limits()).await;
    let (mut liar, mut honest) = (Finder::link(node.port(), 1).await, Finder::link(node.port(), 2).await);
    let whole = picture(1);
    let handle = node.handle();
    let wanted = tokio::spawn(async move { handle.image(&name("cat.jpg")).await });
    let asked = liar.asked().await;
    liar.offer(&asked, "cat.jpg", &whole).await;
    let mut transfer = liar.transfer().await;
    transfer.send(&picture(9)[..65_536]).await;
    eventually("a chunk", async || {
        let bytes = node.counted("image_fetched_bytes").await;
        if bytes == 65_536 { Ok(()) } else { Err(format!("{bytes} bytes")) }
    })
    .await;
    honest.offer(&asked, "cat.jpg", &whole).await;
    transfer.vanish();
    for offset in [65_536, 0] {
        let mut transfer = honest.transfer().await;
        assert_eq!(transfer.offset(), offset);
        transfer.send(&whole[offset..]).await;
        transfer.end().await;
    }
    let image = within("the image", wanted).await.unwrap().unwrap();
    assert_eq!(content(&image).await, whole);
}

#[tokio::test]
async fn what_is_not_what_was_offered_is_shown_to_nobody() {
    let node =
        Embedded::with(Limits { search_deadline: Duration::from_secs(1), image_cache_bytes: 1 << 20, ..limits() })
            .await;
    let mut liar = Finder::link(node.port(), 1).await;
    for (round, fault) in ["wrong", "long", "fat", "empty"].into_iter().enumerate() {
        let handle = node.handle();
        let wanted = tokio::spawn(async move { handle.image(&name("cat.jpg")).await });
        let asked = liar.asked().await;
        liar.offer(&asked, "cat.jpg", &picture(1)).await;
        let mut transfer = liar.transfer().await;
        match fault {
            "wrong" => transfer.send(&picture(2)).await,
            "long" => transfer.send(&[picture(1), vec![0]].concat()).await,
            "fat" => transfer.send_frame(picture(1)).await,
            _ => transfer.send_frame(Vec::new()).await,
        }
        transfer.end().await;
        let error = within("the end of the search", wanted).await.unwrap().unwrap_err();
        assert!(matches!(error, ImageError::NotFetched { .. }), "{fault}: {error}");
        assert_eq!(node.counted("image_finders_failed").await, 1 + round as u64, "{fault}");
        assert!(fetched(&node).is_empty(), "{fault}: {:?}", fetched(&node));
    }
    assert_eq!(node.counted("images_wrong").await, 1);
}

#[tokio::test]
async fn offers_that_nobody_asked_for_or_that_are_too_large_are_dropped() {
    let node =
        Embedded::with(Limits { search_deadline: Duration::from_millis(500), image_max_bytes: 1_000, ..limits() })
            .await;
    let mut finder = Finder::link(node.port(), 1).await;
    finder.offer(&json!("07".repeat(16)), "cat.jpg", b"cat").await;
    eventually("a dropped offer", async || match node.counted("founds_unsolicited").await {
        1 => Ok(()),
        other => Err(format!("{other} counted")),
    })
    .await;
    let handle = node.handle();
    let wanted = tokio::spawn(async move { handle.image(&name("cat.jpg")).await });
    let asked = finder.asked().await;
    finder.offer(&asked, "cat.jpg", &[0; 1_001]).await;
    let error = within("the end of the search", wanted).await.unwrap().unwrap_err();
    assert_eq!(error, ImageError::TooLarge { name: name("cat.jpg"), size: 1_001, most: 1_000 });
}

#[tokio::test]
async fn a_kept_copy_is_served_without_a_search_and_found_by_others() {
    let keeping = Limits { image_cache_bytes: 400_000, ..limits() };
    let mut nodes = mesh(&[limits(), keeping, limits()]).await;
    put(&nodes[0], "cat.jpg", &picture(1));
    put(&nodes[0], "dog.jpg", &picture(2));
    get(&nodes[1], "cat.jpg").await.unwrap();
    assert_eq!(fetched(&nodes[1]), ["cat.jpg"]);
    nodes.remove(0).stop().await;
    let image = get(&nodes[0], "cat.jpg").await.unwrap();
    assert_eq!((image.source, content(&image).await), (ImageSource::Cached, picture(1)));
    assert_eq!((nodes[0].counted("image_searches").await, nodes[0].counted("image_cache_hits").await), (1, 1));
    assert_eq!(content(&get(&nodes[1], "cat.jpg").await.unwrap()).await, picture(1));
    put(&nodes[1], "dog.jpg", &picture(2));
    get(&nodes[0], "dog.jpg").await.unwrap();
    // Some file systems remove an open file once it is closed.
    drop(image);
    eventually("room for one", async || match fetched(&nodes[0]) {
        kept if kept == ["dog.jpg"] => Ok(()),
        kept => Err(format!("{kept:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_gibibyte_is_served_where_it_lies_and_carried_nowhere() {
    let nodes = mesh(&[limits(), Limits { search_deadline: Duration::from_millis(500), ..limits() }]).await;
    let file = std::fs::File::create(images(&nodes[0]).join("huge.bmp")).unwrap();
    file.set_len(1 << 30).unwrap();
    let site = Site::of(&nodes[0]).await;
    let end = site.get("/images/huge.bmp", "Range: bytes=1073741820-\r\n").await;
    assert_eq!((end.status, &end.body[..]), (206, &[0; 4][..]));
    let error = get(&nodes[1], "huge.bmp").await.unwrap_err();
    assert_eq!(error, ImageError::NotFound(name("huge.bmp")));
}

#[tokio::test]
async fn the_list_has_what_every_node_says_it_has() {
    let nodes = mesh(&[limits(), limits(), limits()]).await;
    put(&nodes[0], "cat.jpg", b"cat");
    put(&nodes[1], "cat.jpg", b"cat");
    put(&nodes[1], "&amp;dog.jpg", b"a dog");
    let site = Site::of(&nodes[0]).await;
    let list = site.get("/api/images", "").await;
    assert_eq!(list.status, 200);
    let dog = json!({ "name": "&amp;dog.jpg", "size": 5, "here": false, "kept": false, "nodes": 1 });
    let cat = json!({ "name": "cat.jpg", "size": 3, "here": true, "kept": false, "nodes": 1 });
    assert_eq!(list.json(), json!({ "images": [dog, cat], "more": false }));
    join_all((0..10).map(|_| site.get("/api/images", ""))).await;
    assert_eq!(nodes[0].counted("image_searches").await, 1, "one question serves all that ask");
    let metrics = site.get("/metrics", "").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("meshpool_image_searches_total 1") && metrics.contains("meshpool_image_hits_total 0"));
}

#[tokio::test]
async fn a_program_on_the_same_host_has_a_node_search_and_list() {
    let nodes = mesh(&[Limits { search_deadline: Duration::from_millis(500), ..limits() }, limits()]).await;
    put(&nodes[1], "cat.jpg", &picture(1));
    put(&nodes[0], "empty.gif", b"");
    let address = nodes[0].address();
    for (image, wanted) in [("cat.jpg", picture(1)), ("empty.gif", Vec::new())] {
        let mut stream = within("an image", ImageStream::open(address, &name(image))).await.unwrap();
        assert_eq!(stream.size(), wanted.len() as u64);
        let mut came = Vec::new();
        while let Some(bytes) = stream.next().await.unwrap() {
            came.extend(bytes);
        }
        assert_eq!(came, wanted);
        stream.close().await;
    }
    let error = within("an answer", ImageStream::open(address, &name("dog.jpg"))).await.unwrap_err();
    assert!(
        error.to_string().ends_with("no node that can be reached has dog.jpg; put it into the folder images of one")
    );
    let list = within("a list", list_images(address)).await.unwrap();
    let names: Vec<_> = list.images.iter().map(|image| (image.name.as_str(), image.here, image.nodes)).collect();
    assert_eq!(names, [("cat.jpg", false, 1), ("empty.gif", true, 0)]);
}

#[tokio::test]
async fn a_status_asked_over_the_wire_counts_images_too() {
    let node = Embedded::start(|network| network).await;
    put(&node, "cat.png", &picture(1));
    assert_eq!(node.image(&name("cat.png")).await.unwrap().source, ImageSource::Local);
    let mut client = meshpool::Client::connect(node.address()).await.unwrap();
    let told = client.status(&[]).await.unwrap().counters;
    client.close().await;
    assert_eq!(told["image_hits"], 1);
    let names: Vec<_> = node.status().await.unwrap().counters.into_keys().collect();
    assert_eq!(told.into_keys().collect::<Vec<_>>(), names, "the same, however it is asked");
}
