//! nginx as a proxy, with what one would switch on for this use.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::process::{Server, free_address};

/// Starts it in front of `upstream`. Its files go into `folder`, which is opened to other users for it.
pub(crate) async fn start(upstream: SocketAddr, workers: usize, folder: &Path) -> anyhow::Result<Server> {
    let folder = folder.join("nginx");
    std::fs::create_dir_all(&folder)?;
    // nginx may run as another user than we do.
    for folder in [folder.as_path(), folder.parent().unwrap_or(&folder)] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))?;
    }
    let address = free_address()?;
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config(address, upstream, workers, &folder))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
    const NOBODY: u32 = 65534;
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stderr(Stdio::null());
    Server::start(command, address).await.context("nginx: is it installed? 'scripts/setup bench' gets it")
}

fn config(address: SocketAddr, upstream: SocketAddr, workers: usize, folder: &Path) -> String {
    let prefix = folder.display();
    format!(
        "daemon off; worker_processes {workers}; pid {prefix}/pid; error_log {prefix}/error.log;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; tcp_nodelay on; keepalive_requests 1000000000; client_max_body_size 64m;
            client_body_buffer_size 1m;
            client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy; fastcgi_temp_path {prefix}/fastcgi;
            uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;
            upstream engine {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
            server {{
                listen {address};
                location / {{
                    proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection \"\";
                    proxy_buffering off; proxy_read_timeout 600s;
                }}
            }}
        }}"
    )
}
