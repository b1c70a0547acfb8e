//! What to type in the shell.

/// Says how a variable is taken out of the environment: PowerShell and `cmd` share no command.
pub fn unset(name: &str) -> String {
    format!("run 'Remove-Item Env:{name}' (in cmd: 'set {name}=')")
}
