//! A client of a node's HTTP API, for a node elsewhere and for what only the API offers.
//!
//! One connection is kept and opened again when the node has closed it. Every wait has a limit.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::cli::terminal::strip_control;
use crate::client::IMAGE_TIMEOUT;
use crate::protocol::address::PeerAddress;
use crate::util::byte_stream::ByteStream;

/// For connecting, and for TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the head of an answer: a node waits up to ten seconds for its disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// For each part of an answer.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that is read whole: a page of 200 transactions has less.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// How often a request is sent again that the node puts off (429).
const ATTEMPTS: u32 = 20;
/// Transactions that are asked for at once, the most that a page has.
const PAGE: u64 = 200;

/// The API of one node.
#[derive(Debug)]
pub struct Api {
    uri: Uri,
    token: Option<String>,
    connection: Option<SendRequest<Full<Bytes>>>,
    /// The node's time of day at its last answer, in seconds since 1970.
    time: Option<u64>,
}

/// Rows of a pool, the oldest first.
#[derive(Debug)]
pub struct Rows {
    /// How many the pool has.
    pub total: u64,
    /// The texts of these transactions.
    pub rows: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Page {
    transactions: Vec<PageRow>,
    total: u64,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct PageRow {
    id: String,
    position: u64,
    transaction: Option<Box<RawValue>>,
}

impl Api {
    /// The API at a URL. `token`: the node's HTTP_TOKEN.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(url: &str, token: Option<String>) -> Result<Self> {
        let shown = strip_control(url);
        let form = "write it as http://host:port, or https://host behind a proxy with TLS";
        let uri: Uri = ascii(url)
            .as_deref()
            .unwrap_or(url)
            .parse()
            .map_err(|error| anyhow!("{shown} is no URL: {error}; {form}"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !matches!(scheme, "http" | "https") || uri.host().is_none() || has_user || uri.query().is_some() {
            bail!("{shown} is no URL of a node's page: {form}");
        }
        if scheme == "https" && cfg!(not(feature = "tls")) {
            bail!("{shown}: this program was built without TLS; build it with the feature \"tls\"");
        }
        if token.as_deref().is_some_and(|token| token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            bail!("the token has characters that no token has: give the node's HTTP_TOKEN, as its .env has it");
        }
        Ok(Self { uri, token, connection: None, time: None })
    }

    /// Returns the URL, for people.
    pub fn name(&self) -> String {
        strip_control(self.uri.to_string().trim_end_matches('/'))
    }

    /// Returns the node's time of day at its last answer, in seconds since 1970: its clock may
    /// differ from that of this machine. `None`: no answer said it.
    pub(crate) fn time(&self) -> Option<u64> {
        self.time
    }

    /// Asks for a value.
    ///
    /// # Errors
    /// The node refuses, or gives no answer that can be used.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.json(Method::GET, path, None).await
    }

    /// Sends a change, and returns the answer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn change(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        self.json(method, path, Some(body.map_or_else(Bytes::new, |body| body.to_string().into()))).await
    }

    /// Sends a text as it is, and returns the answer.
    ///
    /// # Errors
    /// As [`Self::get`]; what the node refuses as invalid is returned as text.
    pub async fn post_text(&mut self, path: &str, body: String) -> Result<Result<Value, String>> {
        let response = self.request(Method::POST, path, Some(body.into())).await?;
        if response.status() == StatusCode::UNPROCESSABLE_ENTITY {
            return Ok(Err(self.problem(response).await));
        }
        self.read(response).await.map(Ok)
    }

    async fn json<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<T> {
        let response = self.request(method, path, body).await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T> {
        let (name, status) = (self.name(), response.status());
        if !status.is_success() {
            let why = self.problem(response).await;
            bail!("{name}: {why}");
        }
        let bytes = whole(response.into_body()).await.with_context(|| name.clone())?;
        let unusable = "its answer cannot be used; is it a node, and of this version?";
        serde_json::from_slice(&bytes).map_err(|error| anyhow!("{name}: {unusable} ({error})"))
    }

    /// Returns why a request was refused, with the remedy.
    async fn problem(&self, response: Response<Incoming>) -> String {
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            let token = if self.token.is_some() { "another token" } else { "a token" };
            return format!("it requires {token}: give its HTTP_TOKEN with --token or in MESHPOOL_TOKEN");
        }
        let bytes = whole(response.into_body()).await.unwrap_or_default();
        let problem: Option<Value> = serde_json::from_slice(&bytes).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).map(strip_control);
        detail.unwrap_or_else(|| format!("it answers {status}; check that the URL is that of a node's page"))
    }

    /// Sends a request; again, after the time that the node names, if it sends too many.
    async fn request(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<Response<Incoming>> {
        for attempt in 1.. {
            let response = self.send(&method, path, body.clone(), ANSWER_TIMEOUT).await?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS || attempt == ATTEMPTS {
                return Ok(response);
            }
            let seconds = response.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok()?.parse().ok());
            sleep(Duration::from_secs(seconds.unwrap_or(1).min(5))).await;
        }
        unreachable!("the loop returns at its last attempt")
    }

    async fn send(
        &mut self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        limit: Duration,
    ) -> Result<Response<Incoming>> {
        let name = self.name();
        let mut kept = self.connection.take();
        let is_open = match &mut kept {
            Some(open) => open.ready().await.is_ok(),
            None => false,
        };
        let mut connection = match kept.filter(|_| is_open) {
            Some(open) => open,
            None => self.connect().await?,
        };
        let whole_path = format!("{}{path}", self.uri.path().trim_end_matches('/'));
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::builder().method(method).uri(whole_path).header(HOST, authority);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body.unwrap_or_default())).context("the request cannot be written")?;
        let sent = timeout(limit, connection.send_request(request)).await;
        let response = sent
            .map_err(|_| anyhow!("{name} gave no answer for {} s: see the node's log", limit.as_secs()))?
            .map_err(|error| anyhow!("{name} ended the connection ({error}): see the node's log"))?;
        self.connection = Some(connection);
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        self.time = date.and_then(seconds_of).or(self.time);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let secure = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let connected = timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            let stream: std::io::Result<ByteStream<TcpStream>> = match secure {
                false => Ok(ByteStream::Plain(stream)),
                #[cfg(feature = "tls")]
                true => crate::tls::web::connect(host, stream).await,
                #[cfg(not(feature = "tls"))]
                true => Err(std::io::ErrorKind::Unsupported.into()),
            };
            std::io::Result::Ok(stream)
        });
        let remedy = "check the URL, and that the node runs and HTTP_PORT is not 0";
        let stream = match connected.await {
            Ok(connected) => {
                let answered =
                    connected.map_err(|error| anyhow!("nothing answers at {}: {error}; {remedy}", self.name()))?;
                answered.map_err(|error| self.without_tls(&error))?
            }
            Err(_) => bail!("nothing answers at {} within {} s; {remedy}", self.name(), CONNECT_TIMEOUT.as_secs()),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(|| self.name())?;
        // It ends with its sender. What goes wrong there fails the request.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(sender)
    }

    /// Returns the error of a TLS handshake that failed.
    fn without_tls(&self, error: &std::io::Error) -> anyhow::Error {
        let name = self.name();
        #[cfg(feature = "tls")]
        if crate::tls::web::is_plain(error) {
            return anyhow!(
                "what answers at {name} speaks no TLS: write http:// for a node's page, and https:// only for a proxy with TLS before it"
            );
        }
        anyhow!("{name} answers, but not by TLS as it must: {error}; check the URL, and the certificate there")
    }

    /// Returns the newest transactions, at most `most`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn newest(&mut self, most: usize) -> Result<Rows> {
        let (mut rows, mut total, mut before) = (Vec::new(), 0, None);
        while rows.len() < most {
            let page = self.page(before, PAGE.min((most - rows.len()) as u64)).await?;
            total = if before.is_none() { page.total } else { total };
            before = page.next;
            for row in page.transactions {
                rows.push(self.row(row).await?);
            }
            if before.is_none() {
                break;
            }
        }
        if most == 0 {
            total = self.page(None, 1).await?.total;
        }
        rows.reverse();
        Ok(Rows { total, rows })
    }

    /// Hands over all transactions, the oldest first. Returns their number.
    ///
    /// # Errors
    /// As [`Self::get`], or the error of `write`.
    pub async fn oldest_first(&mut self, mut write: impl FnMut(&str) -> Result<()>) -> Result<u64> {
        let total = self.page(None, 1).await?.total;
        let mut from = 0;
        while from < total {
            let end = (from + PAGE).min(total);
            // A page may end early at its limit of bytes.
            let (mut rows, mut before) = (Vec::new(), Some(end));
            while let Some(cursor) = before.filter(|cursor| *cursor > from) {
                let page = self.page(Some(cursor), cursor - from).await?;
                before = page.next;
                rows.extend(page.transactions.into_iter().filter(|row| row.position >= from));
            }
            rows.reverse();
            for row in rows {
                write(self.row(row).await?.get())?;
            }
            from = end;
        }
        Ok(total)
    }

    async fn page(&mut self, before: Option<u64>, limit: u64) -> Result<Page> {
        let before = before.map_or_else(String::new, |before| format!("&before={before}"));
        self.get(&format!("/api/transactions?limit={limit}{before}")).await
    }

    /// Returns the text of a row. A list leaves out large ones.
    async fn row(&mut self, row: PageRow) -> Result<Box<RawValue>> {
        if let Some(transaction) = row.transaction {
            return Ok(transaction);
        }
        let whole: PageRow = self.get(&format!("/api/transactions/{}", row.id)).await?;
        whole.transaction.with_context(|| format!("{}: {} has no text", self.name(), strip_control(&row.id)))
    }

    /// Requests an image, whose bytes follow.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn image(&mut self, name: &str) -> Result<Incoming> {
        let path = format!("/images/{}", encoded(name));
        let response = self.send(&Method::GET, &path, None, IMAGE_TIMEOUT).await?;
        if response.status() != StatusCode::OK {
            let why = self.problem(response).await;
            bail!("{}: {why}", self.name());
        }
        Ok(response.into_body())
    }
}

/// Returns the next bytes of an answer; `None` at its end.
pub(crate) async fn next_part(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        let frame = timeout(PART_TIMEOUT, body.frame()).await;
        match frame.map_err(|_| anyhow!("nothing came for {} s", PART_TIMEOUT.as_secs()))? {
            None => return Ok(None),
            Some(frame) => {
                if let Ok(data) = frame?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn whole(body: Incoming) -> Result<Bytes> {
    let limited = Limited::new(body, ANSWER_BYTES).collect();
    let read = timeout(PART_TIMEOUT, limited).await.map_err(|_| anyhow!("its answer did not come whole"))?;
    Ok(read.map_err(|error| anyhow!("its answer did not come whole: {error}"))?.to_bytes())
}

/// Returns a URL with its host in ASCII, as resolvers know names of other scripts; `None` if it is
/// so already, or the host is no name.
fn ascii(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://").filter(|_| !url.is_ascii())?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = authority.split_at(authority.rfind(':').unwrap_or(authority.len()));
    let host = PeerAddress::new(host, 1).ok().filter(|address| address.is_name())?.host();
    Some(format!("{scheme}://{host}{port}{path}"))
}

/// Returns text as a part of a path or a query (RFC 3986, section 2.3).
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Returns the seconds since 1970 of a date of HTTP (RFC 9110, section 5.6.7).
fn seconds_of(date: &str) -> Option<u64> {
    let date = time::OffsetDateTime::parse(date, &time::format_description::well_known::Rfc2822);
    date.ok()?.unix_timestamp().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_a_page() {
        for url in ["http://localhost:8001", "http://[::1]:8001/", "https://node.example.org/node-1"] {
            assert!(Api::new(url, None).is_ok(), "{url}");
        }
        for url in ["", "localhost:8001", "ws://localhost:4001", "http://u:p@h/", "http://h/?a=1", "/x", "http:// h"] {
            let error = Api::new(url, None).expect_err(url).to_string();
            assert!(error.contains("http://host:port") && !error.contains('\n'), "{error}");
        }
        assert!(Api::new("http://h", Some("a\nb".to_owned())).is_err());
        for (url, name) in [
            ("http://bücher.example:1", "http://xn--bcher-kva.example:1"),
            ("https://BÜCHER.example/node-1", "https://xn--bcher-kva.example/node-1"),
        ] {
            assert_eq!(Api::new(url, None).expect(url).name(), name);
        }
        assert_eq!(Api::new("http://h:1/node-1/", None).expect("a URL").name(), "http://h:1/node-1");
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn a_page_without_tls_is_told_from_none() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("bound"));
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("dialled");
            stream.read_u8().await.expect("a greeting");
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("answered");
            stream
        });
        let error = Api::new(&url, None).expect("a URL").get::<Value>("/").await.expect_err("no TLS").to_string();
        // A machine without certificates of authorities does no handshake.
        assert!(error.contains("write http://") || error.contains("ca-certificates"), "{error}");
        answering.await.expect("answered");
    }

    #[test]
    fn text_in_a_path_is_one_segment() {
        assert_eq!(encoded("ws://[::1]:1/ä"), "ws%3A%2F%2F%5B%3A%3A1%5D%3A1%2F%C3%A4");
    }

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(seconds_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds_of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in
            ["", "now", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"]
        {
            assert_eq!(seconds_of(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn the_clock_of_a_node_elsewhere_is_that_of_its_answer() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        use crate::cli::target::Target;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("dialled");
            for date in ["", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"] {
                assert!(stream.read(&mut [0; 4_096]).await.expect("a request") > 0);
                let answer = format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.expect("answered");
            }
        });
        let mut target = Target::Api(Api::new(&url, None).expect("a URL"));
        let here = target.time();
        assert!(here > 1_700_000_000, "this machine's, until it is known");
        for expected in [here..=u64::MAX, 784_111_777..=784_111_777] {
            let Target::Api(api) = &mut target else { panic!("it is one") };
            api.get::<Value>("/api/status").await.expect("an answer");
            assert!(expected.contains(&target.time()), "{}", target.time());
        }
        answering.await.expect("answered");
    }
}
