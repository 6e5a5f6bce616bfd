//! nginx, where it is installed: a reverse proxy with a worker a core, alone or with a mirror.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::bench::BenchError;
use crate::bench::child::Child;

const READY: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// A running nginx.
pub(super) struct Nginx {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
    /// Its configuration, and what it keeps while it runs.
    pub(super) folder: TempDir,
}

/// The nginx on the search path.
pub(super) fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("nginx")).find(|file| file.is_file())
}

/// What it says of its version.
pub(super) async fn version(nginx: &Path) -> Option<String> {
    let output = Command::new(nginx).arg("-v").stdin(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.trim().rsplit_once("nginx/").map(|(_, version)| version.to_owned())
}

impl Nginx {
    /// Starts one in front of `legacy`, which sends each request to `mirror` too, and waits until it
    /// answers.
    pub(super) async fn start(
        name: &'static str,
        nginx: &Path,
        legacy: SocketAddr,
        mirror: Option<SocketAddr>,
    ) -> Result<Self, BenchError> {
        let lost = |error: std::io::Error| BenchError::Start(format!("{name}: {error}"));
        let folder = TempDir::with_prefix("crossfade-bench-").map_err(lost)?;
        let address = free_port().map_err(lost)?;
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config(folder.path(), address, legacy, mirror)).map_err(lost)?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
        let mut child = Child::start_parent(name, command)?;
        if answers(&mut child, address).await {
            return Ok(Self { child, address, folder });
        }
        child.stop().await;
        let why =
            format!("{name}: {} does not answer; its standard error says why", nginx.display());
        Err(BenchError::Start(why))
    }
}

/// nginx cannot be told to choose a port: this one was free a moment ago.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Whether it takes connections before it has ended, and in time.
async fn answers(child: &mut Child, address: SocketAddr) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < READY && child.is_running() {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

fn config(
    folder: &Path,
    listen: SocketAddr,
    legacy: SocketAddr,
    mirror: Option<SocketAddr>,
) -> String {
    let folder = folder.display();
    // Kept-alive connections need all three; the numbers only have to be large enough.
    let upstream = |name: &str, to: SocketAddr| {
        format!(
            "  upstream {name} {{ server {to}; keepalive 256; keepalive_requests 1000000000; }}\n"
        )
    };
    let pass = |to: &str| {
        format!("proxy_pass http://{to}; proxy_http_version 1.1; proxy_set_header Connection \"\";")
    };
    let (mut upstreams, mut mirrored, mut location) =
        (upstream("legacy", legacy), "", String::new());
    if let Some(mirror) = mirror {
        upstreams += &upstream("mirrored", mirror);
        mirrored = "mirror /mirror; ";
        let pass = pass("mirrored$request_uri");
        location = format!("    location = /mirror {{ internal; {pass} }}\n");
    }
    format!(
        "daemon off;
worker_processes auto;
pid \"{folder}/nginx.pid\";
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path \"{folder}/body\";
  proxy_temp_path \"{folder}/proxy\";
  fastcgi_temp_path \"{folder}/fastcgi\";
  uwsgi_temp_path \"{folder}/uwsgi\";
  scgi_temp_path \"{folder}/scgi\";
{upstreams}  server {{
    listen {listen};
    location / {{ {mirrored}{} }}
{location}  }}
}}
",
        pass("legacy")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mirror: Option<SocketAddr>) -> String {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        config(Path::new("/tmp/x"), at(1), at(2), mirror)
    }

    #[test]
    fn the_mirror_is_there_where_it_is_asked_for() {
        let plain = of(None);
        assert!(plain.contains("listen 127.0.0.1:1;") && plain.contains("server 127.0.0.1:2;"));
        assert!(!plain.contains("mirror"), "{plain}");
        let mirrored = of(Some(([127, 0, 0, 1], 3).into()));
        for part in [
            "server 127.0.0.1:3;",
            "{ mirror /mirror; proxy_pass http://legacy;",
            "location = /mirror { internal; proxy_pass http://mirrored$request_uri;",
        ] {
            assert!(mirrored.contains(part), "{part:?} is not in\n{mirrored}");
        }
    }

    #[test]
    fn braces_are_balanced() {
        for text in [of(None), of(Some(([127, 0, 0, 1], 3).into()))] {
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
        }
    }
}
