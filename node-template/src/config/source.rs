//! The sources of settings, and how errors and warnings name them.

use std::fmt;
use std::path::Path;

use crate::config::env_file::EnvFile;
use crate::config::error::SettingsError;
use crate::config::flags::Flag;
use crate::events::text::strip_control;
use crate::system::unset;

/// The sources of settings: flags, then the environment, then `.env`.
pub(crate) struct Sources<'a> {
    file: EnvFile,
    environment: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<String>,
    /// Settings that only the environment has.
    exported: Vec<String>,
}

/// Settings that no log shows.
const SECRET: [&str; 1] = ["HTTP_TOKEN"];
/// Settings whose own check takes quotation marks, as part of a name.
const ANY_TEXT: [&str; 4] = ["NETWORK", "NETWORK_CA", "CERTIFICATE", "HTTP_TOKEN"];

/// A setting's value as text, trimmed.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// The source of a value.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Flag(&'static str),
    /// The process's environment, which may override a file.
    Environment {
        overrides: Option<String>,
    },
    File {
        path: String,
        line: usize,
    },
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
    /// Returns the error of this value, given what is expected.
    pub(crate) fn bad(&self, expected: &str) -> SettingsError {
        let remedy = match &self.origin {
            Origin::Flag(flag) => format!("give {flag} another value"),
            Origin::Environment { .. } => format!("{} or change it", unset(self.name)),
            Origin::File { .. } => "change it there".to_owned(),
        };
        SettingsError::Invalid {
            name: self.name,
            value: shown(self.name, &self.text),
            origin: self.origin.to_string(),
            expected: expected.to_owned(),
            remedy,
            from_flag: matches!(self.origin, Origin::Flag(_)),
        }
    }

    /// Checks a value of the environment. `written`: the value in the file.
    fn check_exported(&self, written: Option<&str>) -> Result<(), SettingsError> {
        let text = self.text.as_str();
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(self.bad("a setting is UTF-8 text, and this is not"));
        }
        if SECRET.contains(&self.name) && text.is_empty() && written.is_some_and(|written| !written.is_empty()) {
            return Err(self.bad("the API would ask for no token, although that file sets one"));
        }
        let is_quoted = |mark: char| text.len() > 1 && text.starts_with(mark) && text.ends_with(mark);
        if ANY_TEXT.contains(&self.name) && (is_quoted('"') || is_quoted('\'')) {
            return Err(self.bad("the quotation marks around it are part of the value; leave them out"));
        }
        Ok(())
    }

    /// Parses digits only, as a number within bounds.
    pub(crate) fn number(&self, min: u64, max: u64) -> Option<u64> {
        let digits = self.text.bytes().all(|byte| byte.is_ascii_digit());
        self.text.parse().ok().filter(|number| digits && (min..=max).contains(number))
    }
}

fn shown(name: &str, text: &str) -> String {
    if SECRET.contains(&name) && !text.is_empty() {
        return "…".to_owned();
    }
    let plain = strip_control(text);
    if plain.is_empty() { "empty".to_owned() } else { plain }
}

impl<'a> Sources<'a> {
    pub(crate) fn read(folder: &Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        Ok(Self { file: EnvFile::read(folder)?, environment, warnings: Vec::new(), exported: Vec::new() })
    }

    /// Returns a setting's value from the first source that has one, even an empty one.
    ///
    /// # Errors
    /// The environment has a value that no setting can have, or one that would remove a secret.
    pub(crate) fn value(&mut self, name: &'static str, flag: Flag<'_>) -> Result<Option<Value>, SettingsError> {
        if let Some((flag, text)) = flag {
            return Ok(Some(Value { name, text: text.trim().to_owned(), origin: Origin::Flag(flag) }));
        }
        let path = &self.file.path;
        let mut entries: Vec<_> = self.file.all(name).collect();
        // The last one counts, as in a shell and for the exercise's nodes.
        let entry = entries.pop();
        let written = entry.map(|entry| entry.value.trim());
        if let Some(text) = (self.environment)(name) {
            let text = text.trim();
            let overrides = written.is_some().then(|| path.clone());
            let value = Value { name, text: text.to_owned(), origin: Origin::Environment { overrides } };
            value.check_exported(written)?;
            if let Some(written) = written.filter(|written| *written != text) {
                let (used, overridden) = (shown(name, text), shown(name, written));
                self.warnings.push(format!(
                    "{name} is {used} from the environment, which overrides {name}={overridden} of {path}; {} if you did not mean that",
                    unset(name)
                ));
            }
            if written.is_none()
                && !text.is_empty()
                && !self.exported.iter().any(|one| one.starts_with(&format!("{name}=")))
            {
                self.exported.push(format!("{name}={}", shown(name, text)));
            }
            return Ok(Some(value));
        }
        let Some(entry) = entry else { return Ok(None) };
        if let Some(earlier) = entries.last() {
            let (first, last) = (earlier.line, entry.line);
            self.warnings
                .push(format!("{path} sets {name} more than once, in lines {first} and {last}; the last one counts"));
        }
        let origin = Origin::File { path: path.clone(), line: entry.line };
        Ok(Some(Value { name, text: entry.value.trim().to_owned(), origin }))
    }

    /// Returns a setting's value, unless it is empty, which means the default.
    ///
    /// # Errors
    /// As [`Self::value`].
    pub(crate) fn filled(&mut self, name: &'static str, flag: Flag<'_>) -> Result<Option<Value>, SettingsError> {
        Ok(self.value(name, flag)?.filter(|value| !value.text.is_empty()))
    }

    /// Returns a setting's value among these choices, in any case; `None` if it is not set.
    pub(crate) fn choice<T: Clone>(
        &mut self,
        name: &'static str,
        flag: Flag<'_>,
        choices: &[(&str, T)],
        expected: &str,
    ) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.filled(name, flag)? else { return Ok(None) };
        let chosen = choices.iter().find(|(text, _)| value.text.eq_ignore_ascii_case(text));
        chosen.map(|(_, chosen)| Some(chosen.clone())).ok_or_else(|| value.bad(expected))
    }

    pub(crate) fn file(&self) -> &EnvFile {
        &self.file
    }

    pub(crate) fn warn(&mut self, line: String) {
        self.warnings.push(line);
    }

    /// Returns one line of the settings that the environment has and the file does not name: tools
    /// and shells export everyday names, such as HOST. With it the warnings.
    pub(crate) fn into_lines(self) -> (Option<String>, Vec<String>) {
        let exported = (!self.exported.is_empty()).then(|| {
            let (all, path) = (self.exported.join(", "), &self.file.path);
            let unset = unset("NAME");
            format!("from the environment, as {path} does not name them: {all}; {unset} for each that you did not mean")
        });
        (exported, self.warnings)
    }
}
