//! The OpenAPI document, printed from the handlers. `docs/reference/openapi.json` is its checked-in copy.

use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Content, InfoBuilder, Ref, RefOr, ResponseBuilder};

use super::problem::CONTENT_TYPE as PROBLEM;
use super::rest::Paths;

/// The document as JSON, ending in a line break.
pub fn document() -> String {
    let mut document = Paths::openapi();
    document.info = InfoBuilder::new()
        .title("Ringway control")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Apply, roll back and explain configurations. Errors are problem details (RFC 9457).",
        ))
        .build();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.take().unwrap_or_else(|| ComponentsBuilder::new().build());
    let mut components = components;
    components.security_schemes.insert("token".to_owned(), bearer.into());
    document.components = Some(components);
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            name_problems(operation);
        }
    }
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Every error is a problem, those included that any endpoint may answer with.
fn name_problems(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let (false, RefOr::T(response)) = (status.starts_with('2'), response)
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
    let view = Content::new(Some(Ref::from_schema_name("ProblemView")));
    for (status, meaning) in [("401", "The token is missing or wrong"), ("default", "Any other error")] {
        let problem = ResponseBuilder::new().description(meaning).content(PROBLEM, view.clone()).build();
        responses.entry(status.to_owned()).or_insert(RefOr::T(problem));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn the_checked_in_document_is_what_the_handlers_print() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json");
        let printed = super::document();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, &printed).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == printed,
            "docs/reference/openapi.json differs: run this test with UPDATE_EXPECT=1"
        );
    }

    #[test]
    fn the_document_has_every_endpoint_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(&super::document()).unwrap();
        let documented: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
            })
            .collect();
        let served = super::super::rest::ENDPOINTS.iter();
        let served = served.map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(documented, served);
    }
}
