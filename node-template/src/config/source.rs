//! Where a value comes from, and how errors and warnings say so.

use std::fmt;
use std::path::Path;

use crate::config::env_file::EnvFile;
use crate::config::{SettingsError, suggest};
use crate::events::text::strip_control;

/// The sources of settings, asked in their order.
pub(crate) struct Sources<'a> {
    file: EnvFile,
    environment: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<String>,
}

/// A setting's value as text, without blanks around it.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// This flag.
    Flag(&'static str),
    /// The process's environment, perhaps in place of what this file says.
    Environment { overrides: Option<String> },
    /// This file's line.
    File { path: String, line: usize },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "from {flag}"),
            Self::Environment { overrides: None } => f.write_str("from the environment"),
            Self::Environment { overrides: Some(path) } => write!(f, "from the environment, which overrides {path}"),
            Self::File { path, line } => write!(f, "{path}, line {line}"),
        }
    }
}

impl Value {
    /// The error that this value is, given what is wanted.
    pub(crate) fn bad(&self, expected: &str) -> SettingsError {
        let remedy = match &self.origin {
            Origin::Flag(flag) => format!("give {flag} another value"),
            Origin::Environment { .. } => format!("run 'unset {}' or change it", self.name),
            Origin::File { .. } => "change it there".to_owned(),
        };
        SettingsError::Invalid {
            name: self.name,
            value: shown(&self.text),
            origin: self.origin.to_string(),
            expected: expected.to_owned(),
            remedy,
            from_flag: matches!(self.origin, Origin::Flag(_)),
        }
    }

    /// The value as a whole number within bounds, digits alone.
    pub(crate) fn number(&self, least: u64, most: u64) -> Option<u64> {
        let digits = self.text.bytes().all(|byte| byte.is_ascii_digit());
        self.text.parse().ok().filter(|number| digits && (least..=most).contains(number))
    }
}

fn shown(text: &str) -> String {
    let plain = strip_control(text);
    if plain.is_empty() { "empty".to_owned() } else { plain }
}

impl<'a> Sources<'a> {
    pub(crate) fn read(folder: &Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        Ok(Self { file: EnvFile::read(folder)?, environment, warnings: Vec::new() })
    }

    /// A setting's value from the first source that has one, be it empty. `flag`: the flag's name and what was given.
    pub(crate) fn value(&mut self, name: &'static str, flag: Option<(&'static str, &str)>) -> Option<Value> {
        if let Some((flag, text)) = flag {
            return Some(Value { name, text: text.trim().to_owned(), origin: Origin::Flag(flag) });
        }
        let path = &self.file.path;
        let mut entries: Vec<_> = self.file.all(name).collect();
        // Of several the last counts, as in a shell and for the exercise's nodes.
        let entry = entries.pop();
        let written = entry.map(|entry| entry.value.trim());
        if let Some(text) = (self.environment)(name) {
            let text = text.trim();
            if let Some(written) = written.filter(|written| *written != text) {
                let (ours, theirs) = (shown(text), shown(written));
                self.warnings.push(format!(
                    "{name} is {ours} from the environment, which overrides {name}={theirs} of {path}; run 'unset {name}' if that was not meant"
                ));
            }
            let overrides = written.is_some().then(|| path.clone());
            return Some(Value { name, text: text.to_owned(), origin: Origin::Environment { overrides } });
        }
        let entry = entry?;
        if let Some(earlier) = entries.last() {
            let (first, last) = (earlier.line, entry.line);
            self.warnings.push(format!(
                "{name} stands in {path} more than once, in lines {first} and {last}; the last one counts"
            ));
        }
        let origin = Origin::File { path: path.clone(), line: entry.line };
        Some(Value { name, text: entry.value.trim().to_owned(), origin })
    }

    /// A setting's value, unless it is empty: an empty one asks for the default.
    pub(crate) fn filled(&mut self, name: &'static str, flag: Option<(&'static str, &str)>) -> Option<Value> {
        self.value(name, flag).filter(|value| !value.text.is_empty())
    }

    /// What the file has in place of a setting that is missing: nothing, or a name that looks like it.
    pub(crate) fn in_place_of(&self, name: &str) -> String {
        let path = &self.file.path;
        if !self.file.exists {
            return format!("there is no {path}");
        }
        match self.file.entries.iter().find(|entry| suggest::meant(&entry.name) == Some(name)) {
            Some(entry) => format!("{path} has {} in line {}, but no {name}", entry.name, entry.line),
            None => format!("{path} has no {name}"),
        }
    }

    pub(crate) fn warn(&mut self, line: String) {
        self.warnings.push(line);
    }

    /// Warns of names in the file that look like one of ours; other unknown names belong to other programs.
    pub(crate) fn warn_of_typos(&mut self) {
        let path = &self.file.path;
        self.warnings.extend(self.file.entries.iter().filter_map(|entry| {
            let (name, line) = (&entry.name, entry.line);
            suggest::meant(name)
                .map(|meant| format!("{path}, line {line}: {name} is no setting and is ignored; did you mean {meant}?"))
        }));
    }

    pub(crate) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }
}
