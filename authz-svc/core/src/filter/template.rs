//! Headers whose values are Go templates.

use gotemplate::{Functions, Template, Value};
use service_kit::Diagnostics;

use crate::request::is_settable;
use crate::spec;

/// Longest value of a header, in bytes.
const MAX_VALUE: usize = 8 << 10;

/// Compiled headers, in order.
#[derive(Debug, Default)]
pub struct HeaderTemplates(Vec<(String, Template)>);

impl HeaderTemplates {
    /// Compiles `headers`, which stand at `path`; faulty ones are left out and reported.
    pub fn compile(
        headers: &[spec::HeaderTemplate],
        path: &str,
        found: &mut Diagnostics<'_>,
    ) -> Self {
        let mut compiled = Vec::new();
        for (i, header) in headers.iter().enumerate() {
            let name = header.name.to_ascii_lowercase();
            if !is_settable(&name) {
                found
                    .error(
                        format!("{path}[{i}].name"),
                        format!("`{}` is not a header that can be set", header.name),
                    )
                    .hint("use a plain header name; pseudo headers and host cannot be set");
                continue;
            }
            if let Some(template) =
                compile(&header.value, Functions::header(), &format!("{path}[{i}].value"), found)
            {
                compiled.push((name, template));
            }
        }
        Self(compiled)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fixed text under `name` (lower case).
    pub fn push_text(&mut self, name: &str, text: &str) {
        // A text without delimiters always is a template; one with them is sent as it is.
        let quoted = text.replace("{{", "{{\"{{\"}}");
        if let Ok(template) = Template::parse(&quoted, &Functions::header()) {
            self.0.push((name.to_owned(), template));
        }
    }

    /// The headers for `data`: name (lower case) and value, or none where `doNotSet` ran.
    ///
    /// # Errors
    /// For the first that fails, or is no header value, its name.
    pub fn render(&self, data: &Value) -> Result<Vec<(String, Option<String>)>, String> {
        self.0
            .iter()
            .map(|(name, template)| match template.execute(data) {
                Ok(output) if !output.set => Ok((name.clone(), None)),
                Ok(output) if is_value(&output.text) => Ok((name.clone(), Some(output.text))),
                _ => Err(name.clone()),
            })
            .collect()
    }

    /// As [`Self::render`], without the headers that fail or are not set.
    pub fn render_good(&self, data: &Value) -> Vec<(String, String)> {
        let good = |(name, template): &(String, Template)| {
            let output = template.execute(data).ok().filter(|o| o.set && is_value(&o.text))?;
            Some((name.clone(), output.text))
        };
        self.0.iter().filter_map(good).collect()
    }
}

fn is_value(text: &str) -> bool {
    text.len() <= MAX_VALUE && !text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// Compiles one template, which stands at `path`.
pub(super) fn compile(
    text: &str,
    functions: Functions,
    path: &str,
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
