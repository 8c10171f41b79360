//! The types of single values: how each is read, what its canonical form is, and what to say when it is wrong.

use std::net::{IpAddr, SocketAddr};

use super::path::{is_dns_name, is_token};
use super::value::Value;

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// What is wrong.
    pub(crate) message: String,
    /// Said at the value itself.
    pub(crate) label: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Whether a later version can carry it out.
    pub(crate) planned: bool,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), label: String::new(), hint: None, planned: false }
    }

    #[must_use]
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn planned(what: &str) -> Self {
        Self { planned: true, ..Self::new(format!("{what} is not available yet")) }
    }
}

/// What a file or variable that is referred to must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Referent {
    /// PEM certificates.
    Certificates,
    /// PEM revocation lists.
    RevocationLists,
    /// A PEM private key; secret.
    PrivateKey,
    /// An API key; secret.
    ApiKey,
}

impl Referent {
    pub(crate) const fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::ApiKey)
    }
}

/// The type of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// `true` or `false`.
    Bool,
    /// A whole number between these.
    Integer(u64, u64),
    /// `250ms`, `3s`, `5m`, `1h`; between these milliseconds.
    Duration(u64, u64),
    /// `512B`, `64KiB`, `10MiB`, `1GiB`; between these bytes.
    Size(u64, u64),
    /// `100/s`, `5/10s`.
    Rate,
    /// One of these words; the second list is for later versions.
    Choice(&'static [&'static str], &'static [&'static str]),
    /// The name of a resource of this section.
    Name(&'static str),
    /// Any text without control characters but line breaks and tabs.
    Text,
    /// `IP:PORT`.
    SocketAddress,
    /// `IP:PORT` or `NAME:PORT`.
    Endpoint,
    /// `10.0.0.0/8`, `::1`.
    Network,
    /// An address without port.
    IpAddress,
    /// A DNS name.
    DnsName,
    /// A DNS name or a one-label wildcard.
    CertificateName,
    /// Host with an optional port.
    Authority,
    /// A path to send, without query.
    Path,
    /// A token (RFC 9110 §5.6.2).
    Token,
    /// A request method.
    Method,
    /// A field name, canonical in the case that was written.
    FieldName,
    /// A field value.
    FieldValue,
    /// A query parameter's or cookie's name.
    ParameterName,
    /// A regular expression over a whole value.
    Expression,
    /// An RFC 3339 date or time.
    Date,
    /// Whose requests share a limit's cell.
    LimitKey,
    /// `off`, `stdout` or `file:PATH`.
    AccessLog,
    /// `https` or `https:PORT`.
    RedirectHttps,
    /// A reference to a file or variable.
    Reference(Referent),
    /// A test's request line.
    RequestLine,
}

/// Longest time a key takes: 31 days, which fits 32 bits of milliseconds.
pub(crate) const DURATION_MS_MAX: u64 = 31 * 86_400_000;

impl Scalar {
    /// Reads a value and brings it into its canonical form. References are read by the caller.
    pub(crate) fn read(self, text: &str, quoted: bool) -> Result<Value, Complaint> {
        match self {
            Self::Bool => read_bool(text, quoted),
            Self::Integer(min, max) => read_integer(text, quoted, min, max),
            Self::Duration(min, max) => {
                let ms = parse_duration(text)?;
                within(ms, min, max, duration_text)?;
                Ok(Value::Text(duration_text(ms)))
            }
            Self::Size(min, max) => {
                let bytes = parse_size(text)?;
                within(bytes, min, max, size_text)?;
                Ok(Value::Text(size_text(bytes)))
            }
            Self::Rate => parse_rate(text).map(|(count, per_ms)| Value::Text(rate_text(count, per_ms))),
            Self::Choice(now, later) => read_choice(text, now, later),
            Self::Name(_) => name(text).map(|()| Value::Text(text.to_owned())),
            Self::SocketAddress => socket_address(text).map(|address| Value::Text(address.to_string())),
            Self::Endpoint => endpoint(text),
            Self::Network => {
                parse_network(text).map(|(address, bits)| Value::Text(network_text(address, bits)))
            }
            Self::IpAddress => match text.parse::<IpAddr>() {
                Ok(address) => Ok(Value::Text(address.to_string())),
                Err(_) => Err(Complaint::new("not an IP address").label("write 192.0.2.1")),
            },
            Self::LimitKey => limit_key(text),
            Self::Date => {
                parse_date(text)?;
                Ok(Value::Text(text.to_owned()))
            }
            Self::Method => method(text),
            Self::CertificateName if is_dns_name(text.strip_prefix("*.").unwrap_or(text)) => {
                Ok(Value::Text(text.to_ascii_lowercase()))
            }
            Self::DnsName if is_dns_name(text) => Ok(Value::Text(text.to_ascii_lowercase())),
            _ => self.check_text(text).map(|()| Value::Text(text.to_owned())),
        }
    }

    fn check_text(self, text: &str) -> Result<(), Complaint> {
        let refuse = |message: &str, label: &str| Err(Complaint::new(message).label(label));
        match self {
            Self::Text if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => {
                refuse("control characters are refused", "")
            }
            Self::CertificateName => {
                refuse("not a name for a certificate", "write `www.example.com` or `\"*.example.com\"`")
            }
            Self::DnsName => refuse("not a DNS name", "write a name like `orders.internal`"),
            Self::Authority if !is_authority(text) => refuse("not a host", "write `name` or `name:port`"),
            Self::Path if !is_plain_path(text) => refuse(
                "not a path",
                "it begins with `/` and has no space, `?`, `#` or character beyond ASCII",
            ),
            Self::Token | Self::FieldName if !is_token(text) => {
                refuse("not a name", "letters, digits and !#$%&'*+-.^_`|~ (RFC 9110)")
            }
            Self::FieldValue if !is_field_value(text) => {
                refuse("not a field value", "printable ASCII, no blank at either end")
            }
            Self::ParameterName
                if text.is_empty() || text.bytes().any(|b| !b.is_ascii_graphic() || b"&=;".contains(&b)) =>
            {
                refuse("not a parameter name", "printable ASCII without `&`, `=` and `;`")
            }
            Self::Expression => match regex_automata::meta::Regex::new(text) {
                Ok(_) => Ok(()),
                Err(_) => refuse("not a regular expression", ""),
            },
            Self::AccessLog
                if !matches!(text, "off" | "stdout")
                    && text.strip_prefix("file:").is_none_or(str::is_empty) =>
            {
                refuse("not a place for the access log", "write off, stdout or file:PATH")
            }
            Self::RedirectHttps if parse_redirect_https(text).is_none() => refuse(
                "a listener redirects to https only",
                "write https, or \"https:443\" for another port than the TLS listener's",
            ),
            Self::RequestLine if parse_request_line(text).is_none() => {
                refuse("not a request", "write a method and a URL: \"GET https://api.example.com/path\"")
            }
            _ => Ok(()),
        }
    }
}

fn read_bool(text: &str, quoted: bool) -> Result<Value, Complaint> {
    match (text, quoted) {
        ("true", false) => Ok(Value::Bool(true)),
        ("false", false) => Ok(Value::Bool(false)),
        ("yes" | "on" | "True" | "TRUE", _) | ("true", true) => {
            Err(Complaint::new("not a truth value").label("write true"))
        }
        ("no" | "off" | "False" | "FALSE", _) | ("false", true) => {
            Err(Complaint::new("not a truth value").label("write false"))
        }
        _ => Err(Complaint::new("not a truth value").label("write true or false")),
    }
}

fn read_integer(text: &str, quoted: bool, min: u64, max: u64) -> Result<Value, Complaint> {
    let digits = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    let range = format!("write a whole number between {min} and {max}");
    match text.parse() {
        Ok(_) if digits && quoted => {
            Err(Complaint::new("a number stands without quotes").label(format!("write {text}")))
        }
        Ok(number) if digits && (min..=max).contains(&number) => Ok(Value::Integer(number)),
        Ok(_) if digits => Err(Complaint::new(format!("{text} is out of range")).label(range)),
        _ => Err(Complaint::new("not a whole number").label(range)),
    }
}

fn within(value: u64, min: u64, max: u64, show: fn(u64) -> String) -> Result<(), Complaint> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let label = format!("write a value between {} and {}", show(min), show(max));
    Err(Complaint::new(format!("{} is out of range", show(value))).label(label))
}

fn read_choice(text: &str, now: &[&str], later: &[&str]) -> Result<Value, Complaint> {
    if now.contains(&text) {
        return Ok(Value::Text(text.to_owned()));
    }
    if later.contains(&text) {
        return Err(
            Complaint::planned(&format!("`{text}`")).label(format!("this version knows {}", list(now)))
        );
    }
    let complaint = Complaint::new(format!("`{text}` is none of the possible words"));
    Err(match super::suggest::nearest(text, now.iter().copied()) {
        Some(word) => complaint.label(format!("did you mean {word}?")),
        None => complaint.label(format!("write {}", list(now))),
    })
}

/// `a, b or c`.
pub(crate) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A resource's name.
pub(crate) fn name(text: &str) -> Result<(), Complaint> {
    let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && text.len() <= super::limits::NAME_BYTES_MAX;
    if good {
        return Ok(());
    }
    let max = super::limits::NAME_BYTES_MAX;
    Err(Complaint::new(format!("`{text}` is not a name"))
        .label(format!("letters, digits, `_`, `-` and `.`, at most {max}")))
}

/// The number and the unit of `250ms`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds of `250ms`, `3s`, `5m`, `1h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<u64, Complaint> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let label = format!("write {text}ms, {text}s, {text}m or {text}h");
        return Err(Complaint::new("a duration has a unit").label(label));
    }
    let value = split_unit(text).and_then(|(number, unit)| {
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*factor)
    });
    value.ok_or_else(|| {
        Complaint::new("not a duration").label("write a whole number and ms, s, m, h or d: 250ms, 3s, 5m, 1h")
    })
}

/// The largest unit that holds it whole.
pub(crate) fn duration_text(ms: u64) -> String {
    units_text(ms, &DURATION_UNITS, "ms")
}

fn units_text(value: u64, units: &[(&str, u64)], smallest: &str) -> String {
    match units.iter().find(|(_, factor)| value > 0 && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => format!("{value}{smallest}"),
    }
}

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Bytes of `512B`, `64KiB`, `10MiB`, `1GiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, Complaint> {
    let value = split_unit(text).and_then(|(number, unit)| {
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*factor)
    });
    let complaint = || {
        let hint =
            "powers of ten (kB, MB) are refused, because half of the readers take them for powers of two";
        Complaint::new("not a size").label("write a whole number and B, KiB, MiB or GiB: 64KiB").hint(hint)
    };
    value.ok_or_else(complaint)
}

/// The largest unit that holds it whole.
pub(crate) fn size_text(bytes: u64) -> String {
    units_text(bytes, &SIZE_UNITS, "B")
}

/// Requests and milliseconds of `100/s`, `5/10s`.
pub(crate) fn parse_rate(text: &str) -> Result<(u64, u64), Complaint> {
    let complaint = || {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let number = if digits.is_empty() { "100" } else { &digits };
        Complaint::new("rate is not a number per unit of time")
            .label(format!("write {number}/s, {number}/m, {number}/h or {number}/d"))
    };
    let (count, unit) = text.split_once('/').ok_or_else(complaint)?;
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return Err(complaint());
    }
    let count: u64 = count.parse().map_err(|_| complaint())?;
    let per_ms = match DURATION_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None => parse_duration(unit).map_err(|_| complaint())?,
    };
    if count == 0 || per_ms == 0 {
        return Err(Complaint::new("a rate of zero lets nothing pass")
            .label("to refuse everything, answer with `respond`"));
    }
    if count > 1_000_000_000 || per_ms > DURATION_MS_MAX {
        return Err(Complaint::new("the rate is out of range").label("at most 1000000000, per at most 31d"));
    }
    Ok((count, per_ms))
}

/// `100/s`, `5/10s`.
pub(crate) fn rate_text(count: u64, per_ms: u64) -> String {
    match DURATION_UNITS.iter().find(|(_, factor)| *factor == per_ms) {
        Some((unit, _)) => format!("{count}/{unit}"),
        None => format!("{count}/{}", duration_text(per_ms)),
    }
}

/// `0.0.0.0:8080`, `[::]:8080`.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, Complaint> {
    text.parse().map_err(|_| {
        Complaint::new("not an address with a port").label("write 0.0.0.0:8080 or \"[::]:8080\"")
    })
}

/// Host and port of `NAME:PORT`.
pub(crate) fn name_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    is_dns_name(host).then_some((host, port))
}

fn endpoint(text: &str) -> Result<Value, Complaint> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 {
            Err(Complaint::new("port 0 cannot be called").label("write the port"))
        } else {
            Ok(Value::Text(address.to_string()))
        };
    }
    // `10.0.0:80` parses as a name of digits; no top-level domain is a number.
    let numeric =
        |host: &str| host.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    match name_and_port(text) {
        Some((host, port)) if !numeric(host) => {
            Ok(Value::Text(format!("{}:{port}", host.to_ascii_lowercase())))
        }
        _ if text.contains("://") => {
            let label = text.split("://").nth(1).map_or(String::new(), |rest| format!("write {rest}"));
            Err(Complaint::new("an endpoint is an address, not a URL")
                .label(label)
                .hint("TLS is a key of the upstream: tls: {}"))
        }
        _ => Err(Complaint::new("not an endpoint").label("write 10.0.0.11:8080 or orders.internal:8080")),
    }
}

/// Address and leading bits of `10.0.0.0/8`; a single address is a whole block.
pub(crate) fn parse_network(text: &str) -> Result<(IpAddr, u8), Complaint> {
    let complaint =
        || Complaint::new("not a network").label("write 10.0.0.0/8, 2001:db8::/32 or a single address");
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| complaint())?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(complaint)?,
    };
    let first = mask(address, bits);
    if first != address {
        return Err(
            Complaint::new("the address has bits beyond its prefix").label(format!("write {first}/{bits}"))
        );
    }
    Ok((address, bits))
}

fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn network_text(address: IpAddr, bits: u8) -> String {
    let whole = if address.is_ipv4() { 32 } else { 128 };
    if bits == whole { address.to_string() } else { format!("{address}/{bits}") }
}

fn method(text: &str) -> Result<Value, Complaint> {
    let upper = text.to_ascii_uppercase();
    if !is_token(text) {
        return Err(Complaint::new("not a method").label("write GET, POST, …"));
    }
    if upper != text {
        return Err(Complaint::new("methods are upper case").label(format!("write {upper}")));
    }
    Ok(Value::Text(upper))
}

fn limit_key(text: &str) -> Result<Value, Complaint> {
    match text {
        "application" | "key" | "route" | "all" | "ip" => Ok(Value::Text(text.to_owned())),
        "plan" | "expr" => Err(Complaint::planned(&format!("`{text}`"))),
        _ if text.starts_with("claim:") => Err(Complaint::planned("`claim:`")),
        _ => {
            if let Some(field) = text.strip_prefix("header:").filter(|field| is_token(field)) {
                return Ok(Value::Text(format!("header:{}", field.to_ascii_lowercase())));
            }
            if let Some((v4, v6)) = parse_ip_key(text) {
                return Ok(Value::Text(ip_key_text(v4, v6)));
            }
            let label = "write application, key, ip, ip/24/56, header:NAME, route or all";
            Err(Complaint::new("not a key of a limit").label(label))
        }
    }
}

/// Leading bits of IPv4 and IPv6 of `ip` (32 and 64), `ip/24` (24 and 64), `ip/56` (32 and 56), `ip/24/56`.
pub(crate) fn parse_ip_key(text: &str) -> Option<(u8, u8)> {
    if text == "ip" {
        return Some((32, 64));
    }
    let mut bits = text.strip_prefix("ip/")?.split('/').map(|part| part.parse::<u8>().ok());
    match (bits.next()?, bits.next(), bits.next()) {
        (Some(one), None, _) if one <= 32 => Some((one, 64)),
        (Some(one), None, _) if one <= 128 => Some((32, one)),
        (Some(v4), Some(Some(v6)), None) if v4 <= 32 && v6 <= 128 => Some((v4, v6)),
        _ => None,
    }
}

fn ip_key_text(v4: u8, v6: u8) -> String {
    if (v4, v6) == (32, 64) { "ip".to_owned() } else { format!("ip/{v4}/{v6}") }
}

/// Unix milliseconds of `2027-01-31` (its first moment in UTC) or `2027-01-31T12:00:00Z`.
pub(crate) fn parse_date(text: &str) -> Result<u64, Complaint> {
    use time::format_description::well_known::Rfc3339;
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let date = time::OffsetDateTime::parse(&whole, &Rfc3339);
    let ms = date.ok().and_then(|date| u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok());
    ms.ok_or_else(|| Complaint::new("not a date").label("write 2027-01-31 or 2027-01-31T12:00:00Z"))
}

/// The port of `https:443`; `Some(None)` for `https` alone.
pub(crate) fn parse_redirect_https(text: &str) -> Option<Option<u16>> {
    match text.strip_prefix("https")? {
        "" => Some(None),
        rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port > 0).map(Some),
    }
}

fn is_authority(text: &str) -> bool {
    is_dns_name(text)
        || name_and_port(text).is_some()
        || text.parse::<SocketAddr>().is_ok()
        || text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|ip| ip.parse::<IpAddr>().is_ok())
}

fn is_plain_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
}

fn is_field_value(text: &str) -> bool {
    text.trim() == text && text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
}

/// Method, scheme, authority and path with query of a test's request.
pub(crate) fn parse_request_line(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (method, url) = text.split_once(' ')?;
    let (scheme, rest) = url.split_once("://")?;
    let path_at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_at);
    let good = is_token(method) && matches!(scheme, "http" | "https") && is_authority(authority);
    let path = if path.is_empty() { "/" } else { path };
    (good && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#'))
        .then_some((method, scheme, authority, path))
}
