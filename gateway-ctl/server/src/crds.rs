//! CustomResourceDefinitions and the field reference, to standard output or to files.

use std::fs;
use std::path::Path;

use gateway_core::crd::{self, DEFINITIONS, Definition, Owner};

use crate::output::Format;

/// Whose definitions are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// RateLimit, Filter, FilterPolicy
    Own,
    /// Those that Emissary has, too
    Emissary,
    /// Both
    All,
}

impl Only {
    fn wants(self, owner: Owner) -> bool {
        match self {
            Self::Own => owner == Owner::Own,
            Self::Emissary => owner == Owner::Emissary,
            Self::All => true,
        }
    }
}

/// What is written of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The definition, as YAML.
    Definition,
    /// The page about its fields, as Markdown.
    Reference,
}

/// The name of a file and its text, kind by kind.
///
/// # Errors
/// The words of the YAML writer.
pub fn files(only: Only, content: Content) -> Result<Vec<(String, String)>, String> {
    let wanted = DEFINITIONS.iter().filter(|d| only.wants(d.owner));
    let mut files = wanted
        .map(|definition| match content {
            Content::Definition => Ok((
                format!("{}/{}.yaml", definition.owner.folder(), definition.plural),
                yaml(definition)?,
            )),
            Content::Reference => {
                Ok((format!("{}.md", definition.kind.to_lowercase()), definition.reference()))
            }
        })
        .collect::<Result<Vec<_>, String>>()?;
    if content == Content::Reference && only == Only::All {
        files.insert(0, ("README.md".to_owned(), crd::reference_index()));
    }
    Ok(files)
}

fn yaml(definition: &Definition) -> Result<String, String> {
    Ok(format!("# Written by `make crds`.\n{}", Format::Yaml.write(&definition.to_json())?))
}

/// All texts after each other, for a pipe.
///
/// # Errors
/// As [`files`].
pub fn stream(only: Only, content: Content) -> Result<String, String> {
    let separator = match content {
        Content::Definition => "---\n",
        Content::Reference => "\n",
    };
    let texts: Vec<String> = files(only, content)?.into_iter().map(|(_, text)| text).collect();
    Ok(texts.join(separator))
}

/// Writes a file for each kind below `folder`.
///
/// # Errors
/// What could not be written, and why.
pub fn write(only: Only, content: Content, folder: &Path) -> Result<(), String> {
    for (name, text) in files(only, content)? {
        let path = folder.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, text))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
