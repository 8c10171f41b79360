//! HAProxy: one thread, connections to the endpoint reused without bounds, no log.

use std::fmt::Write;

use rustix::process::Signal;

use super::{Place, Reload, Setup, static_body, write};
use crate::process::Launch;
use crate::works::{Answer, Kind, Protocol, hosts, keys};

pub(super) fn set_up(place: &Place<'_>) -> Result<Setup, String> {
    let path = place.folder.join("haproxy.cfg");
    write(&path, &configuration(place)?)?;
    let program = place.tools.haproxy.as_deref().ok_or("haproxy is not there")?;
    let path = path.display().to_string();
    // A master process only where it has to load anew: it is not part of the work.
    let master: &[&str] = if place.work.kind == Kind::Reload { &["-W", "-db"] } else { &["-db"] };
    let launch = Launch::new(program, &[master, &["-f", &path]].concat());
    let launch = Launch { environment: place.tools.library_path(), ..launch };
    Ok(Setup { launch, reload: Reload::Signal(Signal::USR2) })
}

fn configuration(place: &Place<'_>) -> Result<String, String> {
    let work = place.work;
    let mut rules = String::new();
    if work.key_and_limit {
        let map = place.folder.join("keys.map");
        write(&map, &keys().map(|key| format!("{key} 1\n")).collect::<String>())?;
        let _ = writeln!(
            rules,
            "  http-request deny deny_status 401 unless {{ req.hdr(x-api-key),map_str({}) -m found }}\n\
             \x20 http-request track-sc0 req.hdr(x-api-key) table each\n\
             \x20 http-request deny deny_status 429 if {{ sc_http_req_rate(0,each) gt 100000 }}",
            map.display()
        );
    }
    if work.answer == Answer::Proxy {
        let _ = writeln!(
            rules,
            "  http-request return status 200 content-type text/plain string \"{}\"",
            static_body()
        );
    }
    if work.routes > 0 {
        let map = place.folder.join("routes.map");
        let lines = hosts(work.routes).flat_map(|(host, prefixes)| {
            prefixes.into_iter().map(move |prefix| format!("{host}{prefix} up\n"))
        });
        write(&map, &lines.collect::<String>())?;
        let _ = writeln!(rules, "  use_backend %[base,map_beg({},none)]", map.display());
    }
    Ok(format!(
        "global\n  nbthread 1\n  maxconn 9900\n  fd-hard-limit 19900\n  tune.ssl.cachesize 0\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n\
         \x20 timeout tunnel 600s\n  timeout http-keep-alive 600s\n  option http-keep-alive\n  http-reuse always\n\
         \x20 option forwardfor\n  no log\n\
         frontend f\n  bind 127.0.0.1:{}{}\n{rules}  default_backend up\n\
         backend none\n  http-request deny deny_status 404\n\
         backend up\n  http-reuse always\n  server s 127.0.0.1:{} maxconn 9900 pool-purge-delay 600s\n\
         backend each\n  stick-table type string len 40 size 100k expire 10s store http_req_rate(1s)\n",
        place.port,
        tls(place),
        place.endpoint
    ))
}

fn tls(place: &Place<'_>) -> String {
    if !place.work.tls {
        return String::new();
    }
    let protocols = if place.work.protocol == Protocol::Http2 { "h2,http/1.1" } else { "http/1.1" };
    format!(" ssl crt {} alpn {protocols} no-tls-tickets", place.certificate.both.display())
}
