//! Headers and bodies of a limit: Go templates.

use gotemplate::{Functions, Template, Value};
use service_kit::Diagnostics;

use crate::spec;

/// Longest value of a header, in bytes.
const MAX_VALUE: usize = 8 << 10;

/// The templates of a limit.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    /// For the backend.
    pub request_headers: HeaderTemplates,
    /// For the client, allowed or not.
    pub response_headers: HeaderTemplates,
    /// For a client over the limit.
    pub error_headers: HeaderTemplates,
    /// The body for a client over the limit.
    pub error_body: Option<Template>,
}

impl Templates {
    /// Whether a response of this limit has something to render.
    pub fn is_empty(&self) -> bool {
        self.request_headers.0.is_empty()
            && self.response_headers.0.is_empty()
            && self.error_headers.0.is_empty()
            && self.error_body.is_none()
    }

    pub(super) fn compile(spec: &spec::Limit, path: &str, found: &mut Diagnostics<'_>) -> Self {
        let headers =
            |list: &Option<Vec<spec::HeaderTemplate>>, field: &str, found: &mut Diagnostics<'_>| {
                HeaderTemplates::compile(
                    list.as_deref().unwrap_or_default(),
                    &format!("{path}.{field}"),
                    found,
                )
            };
        let error = spec.error_response.clone().unwrap_or_default();
        let mut error_headers = headers(&error.headers, "errorResponse.headers", found);
        if let Some(kind) = error.content_type.filter(|k| !k.is_empty()) {
            let header = spec::HeaderTemplate { name: "content-type".to_owned(), value: kind };
            let path = format!("{path}.errorResponse.contentType");
            error_headers.0.extend(HeaderTemplates::compile(&[header], &path, found).0);
        }
        if error.realm.is_some_and(|r| !r.is_empty()) {
            found.notice(
                format!("{path}.errorResponse.realm"),
                "a rate limit has no realm; it has no effect",
            );
        }
        Self {
            request_headers: headers(&spec.inject_request_headers, "injectRequestHeaders", found),
            response_headers: headers(
                &spec.inject_response_headers,
                "injectResponseHeaders",
                found,
            ),
            error_headers,
            error_body: error.body_template.filter(|t| !t.is_empty()).and_then(|text| {
                parse(&text, Functions::body(), format!("{path}.errorResponse.bodyTemplate"), found)
            }),
        }
    }
}

/// Headers by template.
#[derive(Clone, Debug, Default)]
pub struct HeaderTemplates(Vec<(String, Template)>);

impl HeaderTemplates {
    fn compile(list: &[spec::HeaderTemplate], path: &str, found: &mut Diagnostics<'_>) -> Self {
        let mut compiled = Vec::new();
        for (i, header) in list.iter().enumerate() {
            let name = header.name.to_ascii_lowercase();
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) || name == "host" {
                found
                    .error(
                        format!("{path}[{i}].name"),
                        format!("`{}` is not a header that can be set", header.name),
                    )
                    .hint("use a plain header name; pseudo headers and host cannot be set");
                continue;
            }
            let path = format!("{path}[{i}].value");
            compiled
                .extend(parse(&header.value, Functions::header(), path, found).map(|t| (name, t)));
        }
        Self(compiled)
    }

    /// The headers for `data`. One that fails, is not set, or is no header value is left out;
    /// those that fail are added to `failed`.
    pub fn render(&self, data: &Value, failed: &mut u64) -> Vec<(String, String)> {
        let render = |(name, template): &(String, Template)| match template.execute(data) {
            Ok(output) if !output.set => None,
            Ok(output) if is_header_value(&output.text) => Some((name.clone(), output.text)),
            _ => {
                *failed += 1;
                None
            }
        };
        self.0.iter().filter_map(render).collect()
    }
}

fn is_header_value(text: &str) -> bool {
    text.len() <= MAX_VALUE && !text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

fn parse(
    text: &str,
    functions: Functions,
    path: String,
    found: &mut Diagnostics<'_>,
) -> Option<Template> {
    match Template::parse(text, &functions) {
        Ok(template) => Some(template),
        Err(e) => {
            found
                .error(path, format!("not a template: {e}"))
                .hint("templates are Go's text/template with hasKey and doNotSet");
            None
        }
    }
}
