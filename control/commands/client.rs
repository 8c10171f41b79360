//! The commands' side of the REST API.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ConnectArgs;
use super::failure::Failure;
use crate::api::Token;
use crate::api::views::ProblemView;
use crate::state::StateDir;

/// A control daemon that does not take the connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read: the definitions of a million routes.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A way to one control daemon.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: Token,
}

impl Client {
    /// Finds address and token in the arguments or the state directory.
    pub(crate) fn connect(args: &ConnectArgs) -> Result<Self, Failure> {
        let state = StateDir::at(&args.state.directory());
        let base = match &args.api {
            Some(url) => url.clone(),
            None => read(state.address(), &state)?,
        };
        if !base.trim().starts_with("http://") && !base.trim().starts_with("https://") {
            return Err(Failure::Usage(format!(
                "--api takes a URL such as http://127.0.0.1:9091, not `{base}`"
            )));
        }
        let token = match &args.token_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| Failure::File { path: path.clone(), source })?,
            None => read(state.token(), &state)?,
        };
        Ok(Self::new(&base, Token::new(&token)))
    }

    /// To this address with this token.
    pub(crate) fn new(base: &str, token: Token) -> Self {
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .proxy(None)
            .build();
        Self { agent: settings.into(), base: base.trim().trim_end_matches('/').to_owned(), token }
    }

    /// Asks for something.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let answer = request.header("authorization", self.token.authorization()).call();
        self.read(answer)
    }

    /// Asks for something to be done, if this generation is the newest where one is given.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        if_match: Option<u64>,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Answer(error.to_string()))?;
        let request = self.agent.post(format!("{}{path}", self.base));
        let mut request = request
            .header("authorization", self.token.authorization())
            .header("content-type", "application/json");
        if let Some(number) = if_match {
            request = request.header("if-match", format!("\"{number}\""));
        }
        self.read(request.send(&body))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, Failure> {
        let mut answer = answer
            .map_err(|source| Failure::Unreachable { at: self.base.clone(), source: Box::new(source) })?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| Failure::Answer(error.to_string()))?;
        if answer.status().is_success() {
            return serde_json::from_slice(&body).map_err(|error| Failure::Answer(error.to_string()));
        }
        match serde_json::from_slice::<ProblemView>(&body) {
            Ok(problem) => Err(Failure::Problem(Box::new(problem))),
            Err(_) => Err(Failure::Answer(format!("{} is no answer of a control daemon", answer.status()))),
        }
    }
}

fn read(path: PathBuf, state: &StateDir) -> Result<String, Failure> {
    std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Failure::NoDaemon { state: state.root().to_owned() },
        _ => Failure::File { path, source },
    })
}
