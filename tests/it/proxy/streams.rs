//! Bodies that take their time, are large, or break off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

use super::harness::{Peer, Proxy, RawUpstream, ask, get, soon};

/// What is sent in the tests of large bodies.
const LARGE: usize = 100 << 20;
/// What may be under way at once: the kernel's socket buffers on both of the proxy's connections,
/// at most 4 MiB to send and 6 MiB received, and what HTTP buffers in between.
const IN_FLIGHT: usize = 16 << 20;
/// Socket buffers of the two ends, so that what is under way is under way inside the proxy.
const SMALL: u32 = 64 << 10;

async fn small_client(to: std::net::SocketAddr) -> Peer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL).unwrap();
    socket.set_send_buffer_size(SMALL).unwrap();
    Peer::new(socket.connect(to).await.unwrap())
}

fn small_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SMALL).unwrap();
    socket.set_send_buffer_size(SMALL).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(8).unwrap()
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Waits until the writer no longer gets on: its reader is asleep, and every buffer is full.
async fn stalled(written: &AtomicUsize) -> usize {
    let mut before = written.load(Ordering::SeqCst);
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = written.load(Ordering::SeqCst);
        assert!(now <= IN_FLIGHT, "{now} bytes taken from the writer while nobody reads");
        if now == before && now > 0 {
            return now;
        }
        before = now;
    }
}

/// Writes `LARGE` bytes and counts them.
async fn write_large(to: &mut Peer, written: &AtomicUsize) {
    let block = vec![b'x'; 64 << 10];
    for _ in 0..LARGE / block.len() {
        to.stream.write_all(&block).await.unwrap();
        written.fetch_add(block.len(), Ordering::SeqCst);
    }
}

/// Reads `LARGE` bytes, and watches how far ahead the writer is.
async fn read_large(from: &mut Peer, written: &AtomicUsize) {
    let mut read = 0;
    while read < LARGE {
        let block = from.bytes((64 << 10).min(LARGE - read)).await;
        assert!(!block.is_empty() && block.iter().all(|b| *b == b'x'), "after {read} bytes");
        read += block.len();
        let ahead = written.load(Ordering::SeqCst).saturating_sub(read);
        assert!(ahead <= IN_FLIGHT, "{ahead} bytes under way");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_download_waits_for_its_reader() {
    let written = Arc::new(AtomicUsize::new(0));
    let upstream = {
        let written = Arc::clone(&written);
        RawUpstream::on(small_listener(), move |mut peer| {
            let written = Arc::clone(&written);
            async move {
                peer.request().await.unwrap();
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).await;
                write_large(&mut peer, &written).await;
            }
        })
    };
    let proxy = Proxy::before(upstream.at).await;
    let mut client = small_client(proxy.at).await;
    let before = resident();
    client.send(get("/large", "")).await;
    stalled(&written).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < LARGE / 2, "{grown} bytes more memory");
    assert_eq!(soon(client.head()).await.unwrap().status(), 200);
    read_large(&mut client, &written).await;
    upstream.all_ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_waits_for_its_reader() {
    let written = Arc::new(AtomicUsize::new(0));
    let (wake, asleep) = oneshot::channel::<()>();
    let asleep = Arc::new(tokio::sync::Mutex::new(Some(asleep)));
    let upstream = {
        let written = Arc::clone(&written);
        RawUpstream::on(small_listener(), move |mut peer| {
            let (written, asleep) = (Arc::clone(&written), Arc::clone(&asleep));
            async move {
                peer.head().await.unwrap();
                asleep.lock().await.take().unwrap().await.unwrap();
                read_large(&mut peer, &written).await;
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        })
    };
    let proxy = Proxy::before(upstream.at).await;
    let mut client = small_client(proxy.at).await;
    client.send(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let before = resident();
    let check = async {
        stalled(&written).await;
        let grown = resident().saturating_sub(before);
        assert!(grown < LARGE / 2, "{grown} bytes more memory");
        wake.send(()).unwrap();
    };
    tokio::join!(write_large(&mut client, &written), check);
    assert_eq!(soon(client.response("PUT")).await.unwrap().body, b"ok");
}

#[tokio::test]
async fn an_event_arrives_before_the_stream_ends() {
    let (next, released) = oneshot::channel::<()>();
    let released = Arc::new(tokio::sync::Mutex::new(Some(released)));
    let upstream = RawUpstream::start(move |mut peer: Peer| {
        let released = Arc::clone(&released);
        async move {
            peer.request().await.unwrap();
            peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            )
            .await;
            // The second event is made only when the first one was seen.
            released.lock().await.take().unwrap().await.unwrap();
            peer.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(get("/events", "Accept: text/event-stream\r\n")).await;
    let head = soon(client.head()).await.unwrap();
    assert_eq!(head.one("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!(soon(client.chunk()).await.unwrap(), b"data: 1\n\n");
    next.send(()).unwrap();
    assert_eq!(soon(client.chunk()).await.unwrap(), b"data: 2\n\n");
    assert_eq!(soon(client.chunk()).await.unwrap(), b"");
}

#[tokio::test]
async fn an_upload_that_breaks_off_breaks_off_upstream() {
    for (head, part) in
        [("Content-Length: 10", "part"), ("Transfer-Encoding: chunked", "4\r\npart\r\n")]
    {
        let (got, seen) = oneshot::channel();
        let got = Arc::new(tokio::sync::Mutex::new(Some(got)));
        let upstream = RawUpstream::start(move |mut peer: Peer| {
            let got = Arc::clone(&got);
            async move {
                let request = peer.request().await.unwrap();
                got.lock().await.take().unwrap().send(request).unwrap();
            }
        })
        .await;
        let proxy = Proxy::before(upstream.at).await;
        let mut client = Peer::connect(proxy.at).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n{part}")).await;
        drop(client);
        let request = soon(seen).await.unwrap();
        assert!(!request.whole, "{head}: the upstream must not take a part for the whole");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_upstream() {
    // Before the answer began.
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.request().await.unwrap();
        peer.closed().await;
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(get("/", "")).await;
    soon(async {
        while upstream.accepted() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(client);
    upstream.all_ended().await;

    // In the middle of an answer without end.
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while peer.stream.write_all(b"4\r\nmore\r\n").await.is_ok() {}
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send(get("/", "")).await;
    soon(client.head()).await.unwrap();
    assert_eq!(soon(client.chunk()).await.unwrap(), b"more");
    drop(client);
    upstream.all_ended().await;
}

#[tokio::test]
async fn a_download_that_breaks_off_is_not_taken_for_whole() {
    for (head, part) in
        [("Content-Length: 10", "part"), ("Transfer-Encoding: chunked", "4\r\npart\r\n")]
    {
        let upstream = RawUpstream::start(move |mut peer: Peer| async move {
            peer.request().await.unwrap();
            peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}")).await;
        })
        .await;
        let proxy = Proxy::before(upstream.at).await;
        let answer = ask(proxy.at, get("/", "")).await;
        assert_eq!(answer.status(), 200);
        assert!(!answer.whole, "{head}");
    }
}

/// The upstream refuses a large upload after its head, and reads nothing of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_refusal_reaches_a_client_that_still_sends() {
    let (answered, done) = oneshot::channel::<()>();
    let done = Arc::new(tokio::sync::Mutex::new(Some(done)));
    let upstream = RawUpstream::start(move |mut peer: Peer| {
        let done = Arc::clone(&done);
        async move {
            peer.head().await.unwrap();
            peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
            done.lock().await.take().unwrap().await.unwrap();
        }
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let (mut reader, mut writer) = Peer::connect(proxy.at).await.stream.into_split();
    let sending = async {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n");
        writer.write_all(head.as_bytes()).await.unwrap();
        let block = vec![0; 64 << 10];
        while writer.write_all(&block).await.is_ok() {}
    };
    let reading = async {
        let mut answer = Vec::new();
        while !answer.ends_with(b"big") {
            assert_ne!(reader.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 413 "));
    };
    tokio::select! {
        () = soon(reading) => {}
        () = sending => panic!("the upload ended before the answer came"),
    }
    answered.send(()).unwrap();
}

/// An answer that began goes on beside an upload that goes on: neither waits for the other.
#[tokio::test]
async fn both_directions_flow_at_once() {
    let upstream = RawUpstream::start(|mut peer: Peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while let Some(chunk) = peer.chunk().await {
            let text = String::from_utf8(chunk).unwrap().to_uppercase();
            peer.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
            if text.is_empty() {
                return;
            }
        }
    })
    .await;
    let proxy = Proxy::before(upstream.at).await;
    let mut client = Peer::connect(proxy.at).await;
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!(soon(client.head()).await.unwrap().status(), 200);
    for word in ["ping", "pong"] {
        client.send(format!("4\r\n{word}\r\n")).await;
        assert_eq!(soon(client.chunk()).await.unwrap(), word.to_uppercase().into_bytes());
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(soon(client.chunk()).await.unwrap(), b"");
}
