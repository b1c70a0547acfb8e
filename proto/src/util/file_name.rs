//! Names of files that mean something else on some systems. They are refused on all, as a name may
//! come from another node, and a folder may go to another system.

/// Returns whether Windows takes a name for a device, whatever extension it has: `NUL`, `com1.txt`.
///
/// Source: "Naming Files, Paths, and Namespaces" of the Windows documentation. The superscript
/// digits count there as digits.
pub(crate) fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end_matches(' ').to_ascii_uppercase();
    let numbered = |prefix| {
        let rest = stem.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            matches!(rest, "\u{b9}" | "\u{b2}" | "\u{b3}") || matches!(rest.as_bytes(), [b'0'..=b'9'])
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") || numbered("COM") || numbered("LPT")
}

#[cfg(test)]
mod tests {
    use super::is_device;

    #[test]
    fn devices_have_any_case_and_extension() {
        for name in ["con", "NUL", "nul.txt", "aux .jpg", "Com1", "lpt9.tar.gz", "COM\u{b2}", "conin$", "prn:a"] {
            assert!(is_device(name), "{name}");
        }
        for name in ["", "con1", "console", "com", "com10", "comx", "a.con", "null", "lpt", "auxiliary.png"] {
            assert!(!is_device(name), "{name}");
        }
    }
}
