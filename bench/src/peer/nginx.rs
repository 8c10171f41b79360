//! nginx: one worker, the settings of a gateway of its kind, no access log. Its buffers have 64 KiB: that costs small replies nothing, and
//! replies of 64 KiB take 21.6 µs instead of the 25.4 that they take through four of 16.

use std::fmt::Write;

use rustix::process::Signal;

use super::{Place, Reload, Setup, static_body, write};
use crate::process::Launch;
use crate::works::{Answer, Protocol, hosts, keys};

pub(super) fn set_up(place: &Place<'_>) -> Result<Setup, String> {
    let path = place.folder.join("nginx.conf");
    write(&path, &configuration(place))?;
    let program = place.tools.nginx.as_deref().ok_or("nginx is not there")?;
    let (path, folder) = (path.display().to_string(), place.folder.display().to_string());
    let launch = Launch::new(program, &["-c", &path, "-p", &folder, "-e", "error.log"]);
    let launch = Launch { environment: place.tools.library_path(), ..launch };
    Ok(Setup { launch, reload: Reload::Signal(Signal::HUP) })
}

fn configuration(place: &Place<'_>) -> String {
    let (work, folder) = (place.work, place.folder.display());
    // Written in pieces of 64 KiB, as Ringway writes its own.
    let log = match work.access_log {
        true => format!("access_log {folder}/access.log combined buffer=64k flush=1s;"),
        false => "access_log off;".to_owned(),
    };
    let mut text = format!(
        "daemon off; user root; worker_processes 1; worker_rlimit_nofile 19000; worker_shutdown_timeout 10s;\n\
         pid {folder}/nginx.pid; error_log {folder}/error.log error;\n\
         events {{ worker_connections 18000; accept_mutex off; multi_accept on; }}\n\
         http {{ {log} keepalive_requests 100000000; keepalive_timeout 600s; tcp_nodelay on;\n\
         server_names_hash_max_size 65536; server_names_hash_bucket_size 128; client_max_body_size 16m; client_body_buffer_size 128k;\n\
         client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n\
         uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         proxy_http_version 1.1; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0;\n\
         upstream up {{ server 127.0.0.1:{}; keepalive 512; keepalive_requests 100000000; keepalive_timeout 600s; }}\n",
        place.endpoint
    );
    let connection = match work.protocol {
        Protocol::WebSocket => "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
        _ => "proxy_set_header Connection \"\";",
    };
    let _ = writeln!(text, "{connection}");
    if work.key_and_limit {
        text.push_str(
            "map_hash_max_size 65536; map_hash_bucket_size 128; map $http_x_api_key $known { default 0;\n",
        );
        keys().for_each(|key| {
            let _ = writeln!(text, "\"{key}\" 1;");
        });
        text.push_str("} limit_req_zone $http_x_api_key zone=each:32m rate=100000r/s;\n");
    }
    let guard = match work.key_and_limit {
        true => "if ($known = 0) { return 401; } limit_req zone=each burst=100000 nodelay;",
        false => "",
    };
    let action = match work.answer {
        Answer::Proxy => format!("return 200 \"{}\";", static_body()),
        Answer::Endpoint(_) => "proxy_pass http://up;".to_owned(),
    };
    if work.routes == 0 {
        let listen = listen(place, true);
        let _ = writeln!(text, "server {{ {listen} server_name _; {guard} location / {{ {action} }} }}");
    }
    for (index, (host, prefixes)) in hosts(work.routes).enumerate().filter(|_| work.routes > 0) {
        let _ = writeln!(text, "server {{ {} server_name {host}; {guard}", listen(place, index == 0));
        for prefix in prefixes {
            let _ = writeln!(text, "location {prefix} {{ {action} }}");
        }
        text.push_str("}\n");
    }
    text.push_str("}\n");
    text
}

fn listen(place: &Place<'_>, first: bool) -> String {
    let backlog = if first { " backlog=4096" } else { "" };
    if !place.work.tls {
        return format!("listen 127.0.0.1:{}{backlog};", place.port);
    }
    let http2 = if place.work.protocol == Protocol::Http2 { " http2" } else { "" };
    format!(
        "listen 127.0.0.1:{}{backlog} ssl{http2}; ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3 TLSv1.2;\n\
         ssl_session_cache off; ssl_session_tickets off;",
        place.port,
        place.certificate.chain.display(),
        place.certificate.key.display()
    )
}
