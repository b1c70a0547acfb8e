//! What to type in the shell.

/// Says how a variable is taken out of the environment.
pub fn unset(name: &str) -> String {
    format!("run 'unset {name}'")
}
